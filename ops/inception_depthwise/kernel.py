"""Triton kernel for the inception depthwise convolution: all channels of a contiguous map in one launch.

Each program owns rows x columns of one channel, which it copies or convolves as `ops.depthwise_conv2d.kernel_toeplitz`
does, by the square or the band that the channel's group has. The same kernel is the gradient of the map; those of the
weights are those of three depthwise convolutions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import triton
import triton.language as tl
from torch import Tensor

from ops.depthwise_conv2d.kernel_toeplitz import STRIDES, columns_of, divisible, laid, products, rows_of, strides
from ops.depthwise_conv2d.kernel_toeplitz import TABLE as ALONE
from ops.kernel import CONVOLUTION, POINTERS, Configuration, Movement, aligned

SIZES = ["has_bias", "turned", "channels", "group", "rows", "height", "width", "square", "band"]
MAPS = ["x", "weight_0", "weight_1", "weight_2", "bias_0", "bias_1", "bias_2", "out"]


@triton.jit
def _chosen(of, weight_0, weight_1, weight_2, bias_0, bias_1, bias_2, square, band):
    """Return weight, bias and sides of a group's kernels."""
    weight, bias, tall, wide = weight_0, bias_0, square, square
    if of == 1:
        weight, bias, tall, wide = weight_1, bias_1, square // square, band
    if of == 2:
        weight, bias, tall, wide = weight_2, bias_2, band, square // square
    return weight, bias, tall, wide


@triton.jit(do_not_specialize=SIZES + STRIDES)
def inception(
    x, weight_0, weight_1, weight_2, bias_0, bias_1, bias_2, out,
    has_bias, turned, channels, group, rows, height, width, square, band, x_n, x_c, x_h,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, PRECISION: tl.constexpr, VECTOR: tl.constexpr,
):  # fmt: skip
    """Copy or convolve; `turned` 1 takes the taps in reverse order, which makes it the gradient of x."""
    if VECTOR:
        width, x_n, x_c, x_h = width // 8 * 8, x_n // 8 * 8, x_c // 8 * 8, x_h // 8 * 8
    across, channel = tl.cdiv(width, COLUMNS), tl.program_id(1)
    column = tl.program_id(0) % across * COLUMNS
    line, target = tl.program_id(0) // across * ROWS + tl.arange(0, ROWS), column + tl.arange(0, COLUMNS)
    inside, image, row = line < rows, (line // height).to(tl.int64), line % height
    x += channel.to(tl.int64) * x_c
    there = inside[:, None] & (target < width)[None, :]
    places = out + (((image * channels + channel) * height + row) * width)[:, None] + target[None, :]
    mixed = channel - (channels - 3 * group)
    if mixed < 0:
        tl.store(places, rows_of(x, image * x_n, inside, row, target, height, width, x_h), mask=there)
    else:
        weight, bias, tall, wide = _chosen(
            mixed // group, weight_0, weight_1, weight_2, bias_0, bias_1, bias_2, square, band
        )
        total = products(
            tl.zeros([ROWS, COLUMNS], tl.float32), x, weight + mixed % group * tall * wide + turned * (tall * wide - 1),
            image * x_n, inside, row, column, height, width, x_h, tall, wide, 1, 1 - 2 * turned,
            COLUMNS, DEPTH, PRECISION,
        )  # fmt: skip
        total += tl.where(has_bias != 0, tl.load(bias + mixed % group).to(tl.float32), 0.0)
        tl.store(places, total.to(out.dtype.element_ty), mask=there)


def _configured(dtype: torch.dtype, columns: int, vector: bool) -> Configuration:
    alone = ALONE[dtype, columns, vector, False]
    return Configuration(
        name=" ".join([str(dtype).removeprefix("torch."), str(columns), *["divisible"] * vector]),
        kernel=inception,
        types={**dict.fromkeys(MAPS, POINTERS[dtype]), **dict.fromkeys([*SIZES, *STRIDES], "i32")},
        constants=alone.constants,
        limits=CONVOLUTION,
        num_warps=alone.num_warps,
        vector_bits=alone.vector_bits,
    )


TABLE = {
    (dtype, columns, vector): _configured(dtype, columns, vector)
    for dtype in POINTERS
    for columns in (16, 32)
    for vector in (False, True)
}
CONFIGURATIONS = tuple(TABLE.values())


def configuration(*maps: Tensor) -> Configuration:
    """Return how laid maps of one shape are mixed."""
    return TABLE[maps[0].dtype, columns_of(maps[0], 0), divisible(*maps)]


def forward(x: Tensor, weights: list[Tensor], biases: list[Tensor], *, back: bool = False) -> Tensor:
    """Return the contiguous mixed map; with `back` by the taps in reverse order. Weights and biases as in reference."""
    x, taps = laid(x), [aligned(weight.contiguous()) for weight in weights]
    shifts = [aligned(bias.contiguous()) for bias in biases] if biases else taps
    count, channels, height, width = x.shape
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    chosen = configuration(x, out)
    rows, across = (
        triton.cdiv(count * height, chosen.constants["ROWS"]),
        triton.cdiv(width, chosen.constants["COLUMNS"]),
    )
    chosen.launch(
        (rows * across, channels), x, *taps, *shifts, out, int(bool(biases)), int(back), channels, len(taps[0]),
        count * height, height, width, taps[0].shape[3], taps[1].shape[3], *strides(x),
    )  # fmt: skip
    return out


def _moved(dtype: torch.dtype, guarded: Callable[[Tensor], Tensor], *, back: bool) -> int:
    x = guarded(torch.randn(8, 8, 14, 32).to(dtype))
    weights = [guarded(torch.randn(2, 1, *sides).to(dtype)) for sides in ((3, 3), (1, 11), (11, 1))]
    forward(x, weights, [], back=back)
    return 2 * x.numel() * x.element_size()


MOVEMENTS = tuple(
    Movement(
        f"{'backward' if back else 'forward'} {str(dtype).removeprefix('torch.')}", partial(_moved, dtype, back=back),
        1.6 if back else 1.3, "per_program",
    )
    for dtype in (torch.float32, torch.bfloat16)
    for back in (False, True)
)  # fmt: skip
