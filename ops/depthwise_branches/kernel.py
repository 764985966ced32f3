"""Triton kernels for several depthwise convolutions of one map, which is read once; its gradient is written once.

The products are those of `ops.depthwise_conv2d.kernel_toeplitz`, of up to three branches. A program convolves its rows
by one branch after the other, so that all but the first find them in the cache; backward, it adds all branches up.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import triton
import triton.language as tl
from torch import Tensor

from ops.depthwise_branches.registered import MOST
from ops.depthwise_conv2d.kernel_toeplitz import STRIDES, columns_of, divisible, laid, products, strides
from ops.depthwise_conv2d.kernel_toeplitz import TABLE as ALONE
from ops.kernel import CONVOLUTION, POINTERS, Configuration, Movement, aligned

SIZES = ["branches", "channels", "rows", "height", "width"]
KERNELS = [f"{size}_{branch}" for branch in range(MOST) for size in ("tall", "wide", "dilation")]


@triton.jit
def _products(total, x, weight, channel, line, column, height, width, rows, x_n, x_c, x_h, tall, wide, dilation, sign,
              COLUMNS: tl.constexpr, DEPTH: tl.constexpr, PRECISION: tl.constexpr):  # fmt: skip
    """Add one branch's convolution of rows of a channel; its taps go on in memory, or back if `sign` is -1."""
    inside, image, row = line < rows, (line // height).to(tl.int64), line % height
    return products(
        total, x + channel * x_c, weight, image * x_n, inside, row, column, height, width, x_h, tall, wide, dilation,
        sign, COLUMNS, DEPTH, PRECISION,
    )  # fmt: skip


@triton.jit
def _written(out, total, channel, line, column, height, width, rows, channels, COLUMNS: tl.constexpr):
    """Write rows of a channel of a contiguous map."""
    target = column + tl.arange(0, COLUMNS)
    row = ((line // height).to(tl.int64) * channels + channel) * height + line % height
    places, there = row[:, None] * width + target[None, :], (line < rows)[:, None] & (target < width)[None, :]
    tl.store(out + places, total.to(out.dtype.element_ty), mask=there)


@triton.jit
def _kernel(
    branch, tall_0, wide_0, dilation_0, tall_1, wide_1, dilation_1, tall_2, wide_2, dilation_2
):  # fmt: skip
    """Return the sides and the dilation of a branch."""
    tall, wide, dilation = tall_0, wide_0, dilation_0
    if branch == 1:
        tall, wide, dilation = tall_1, wide_1, dilation_1
    if branch == 2:
        tall, wide, dilation = tall_2, wide_2, dilation_2
    return tall, wide, dilation


@triton.jit
def _of(branch, tensor_0, tensor_1, tensor_2):
    """Return the tensor of a branch."""
    tensor = tensor_0
    if branch == 1:
        tensor = tensor_1
    if branch == 2:
        tensor = tensor_2
    return tensor


@triton.jit(do_not_specialize=SIZES + STRIDES + KERNELS)
def spread(
    x, weight_0, weight_1, weight_2, out_0, out_1, out_2, branches, channels, rows, height, width, x_n, x_c, x_h,
    tall_0, wide_0, dilation_0, tall_1, wide_1, dilation_1, tall_2, wide_2, dilation_2,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, PRECISION: tl.constexpr, VECTOR: tl.constexpr,
):  # fmt: skip
    """Convolve one map by the kernel of each branch."""
    if VECTOR:
        width, x_n, x_c, x_h = width // 8 * 8, x_n // 8 * 8, x_c // 8 * 8, x_h // 8 * 8
    across, channel = tl.cdiv(width, COLUMNS), tl.program_id(1).to(tl.int64)
    column = tl.program_id(0) % across * COLUMNS
    line = tl.program_id(0) // across * ROWS + tl.arange(0, ROWS)
    for branch in range(branches):
        tall, wide, dilation = _kernel(
            branch, tall_0, wide_0, dilation_0, tall_1, wide_1, dilation_1, tall_2, wide_2, dilation_2
        )
        weight = _of(branch, weight_0, weight_1, weight_2) + channel * tall * wide
        total = _products(
            tl.zeros([ROWS, COLUMNS], tl.float32), x, weight, channel, line, column, height, width, rows, x_n, x_c, x_h,
            tall, wide, dilation, 1, COLUMNS, DEPTH, PRECISION,
        )  # fmt: skip
        out = _of(branch, out_0, out_1, out_2)
        _written(out, total, channel, line, column, height, width, rows, channels, COLUMNS)


@triton.jit(do_not_specialize=SIZES + STRIDES + KERNELS)
def gather(
    grad_0, grad_1, grad_2, weight_0, weight_1, weight_2, d_x, branches, channels, rows, height, width, x_n, x_c, x_h,
    tall_0, wide_0, dilation_0, tall_1, wide_1, dilation_1, tall_2, wide_2, dilation_2,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, PRECISION: tl.constexpr, VECTOR: tl.constexpr,
):  # fmt: skip
    """Write the gradient of the map that several kernels convolved."""
    if VECTOR:
        width, x_n, x_c, x_h = width // 8 * 8, x_n // 8 * 8, x_c // 8 * 8, x_h // 8 * 8
    across, channel = tl.cdiv(width, COLUMNS), tl.program_id(1).to(tl.int64)
    column = tl.program_id(0) % across * COLUMNS
    line = tl.program_id(0) // across * ROWS + tl.arange(0, ROWS)
    total = tl.zeros([ROWS, COLUMNS], tl.float32)
    for branch in range(branches):
        tall, wide, dilation = _kernel(
            branch, tall_0, wide_0, dilation_0, tall_1, wide_1, dilation_1, tall_2, wide_2, dilation_2
        )
        weight = _of(branch, weight_0, weight_1, weight_2) + (channel + 1) * tall * wide - 1
        total = _products(
            total, _of(branch, grad_0, grad_1, grad_2), weight, channel, line, column, height, width, rows, x_n, x_c,
            x_h, tall, wide, dilation, -1, COLUMNS, DEPTH, PRECISION,
        )  # fmt: skip
    _written(d_x, total, channel, line, column, height, width, rows, channels, COLUMNS)


def _configured(dtype: torch.dtype, columns: int, vector: bool, back: bool) -> Configuration:
    alone, single = ALONE[dtype, columns, vector, False], dtype == torch.float32
    kernel, integers = gather if back else spread, {*SIZES, *STRIDES, *KERNELS}
    names = [name for name in kernel.arg_names if name not in alone.constants]
    words = ("backward" if back else "forward", str(dtype).removeprefix("torch."), str(columns))
    return Configuration(
        name=" ".join([*words, *["divisible"] * vector]),
        kernel=kernel,
        types={name: "i32" if name in integers else POINTERS[dtype] for name in names},
        # the sums and, of float32, the parts of numbers fill the registers of fewer threads
        constants=alone.constants,
        limits=CONVOLUTION,
        num_warps=8 if single or columns == 32 else alone.num_warps,
        registers=CONVOLUTION.registers if single and columns == 32 and not vector else None,
        vector_bits=alone.vector_bits,
    )


TABLE = {
    (dtype, columns, vector, back): _configured(dtype, columns, vector, back)
    for dtype in POINTERS
    for columns in (16, 32)
    for vector in (False, True)
    for back in (False, True)
}
CONFIGURATIONS = tuple(TABLE.values())


def configuration(*maps: Tensor, back: bool) -> Configuration:
    """Return how laid maps of one shape are convolved by several kernels."""
    return TABLE[maps[0].dtype, columns_of(maps[0], 0), divisible(*maps), back]


def forward(x: Tensor, weights: list[Tensor], dilations: list[int]) -> list[Tensor]:
    """Return the contiguous convolution of x by each of two or three kernels."""
    x = laid(x)
    outs = [torch.empty(x.shape, dtype=x.dtype, device=x.device) for _ in weights]
    _launch(configuration(x, *outs, back=False), x, [x], weights, dilations, outs)
    return outs


def backward(grads: list[Tensor], weights: list[Tensor], dilations: list[int]) -> Tensor:
    """Return the contiguous gradient of the map that these kernels convolved."""
    grads = [aligned(grad.contiguous()) for grad in grads]
    out = torch.empty(grads[0].shape, dtype=grads[0].dtype, device=grads[0].device)
    maps = [*grads, *grads[:1] * (MOST - len(grads))]
    _launch(configuration(*grads, out, back=True), grads[0], maps, weights, dilations, [out])
    return out


def _launch(
    chosen: Configuration,
    x: Tensor,
    maps: list[Tensor],
    weights: list[Tensor],
    dilations: list[int],
    outs: list[Tensor],
) -> None:
    """Launch a kernel; branches that there are not get the first one's tensors."""
    count, channels, height, width = x.shape
    missing = MOST - len(weights)
    taps = [aligned(weight.contiguous()) for weight in weights]
    outs = outs if len(outs) == 1 else [*outs, *outs[:1] * missing]
    kernels = [(*weight.shape[2:], dilation) for weight, dilation in zip(weights, dilations, strict=True)]
    kernels += kernels[:1] * missing
    across = triton.cdiv(width, chosen.constants["COLUMNS"])
    grid = triton.cdiv(count * height, chosen.constants["ROWS"]) * across, channels
    chosen.launch(
        grid, *maps, *taps, *taps[:1] * missing, *outs, len(weights), channels, count * height, height, width,
        *strides(x), *(size for kernel in kernels for size in kernel),
    )  # fmt: skip


def _moved(dtype: torch.dtype, guarded: Callable[[Tensor], Tensor], *, back: bool) -> int:
    maps = [guarded(torch.randn(4, 2, 16, 32).to(dtype)) for _ in range(2 if back else 1)]
    weights = [guarded(torch.randn(2, 1, side, side).to(dtype)) for side in (13, 5)]
    if back:
        backward(maps, weights, [1, 1])
    else:
        forward(maps[0], weights, [1, 1])
    return 3 * maps[0].numel() * maps[0].element_size() + sum(w.numel() * w.element_size() for w in weights)


MOVEMENTS = tuple(
    Movement(
        f"{'backward' if back else 'forward'} 13x13 and 5x5 {str(dtype).removeprefix('torch.')}",
        partial(_moved, dtype, back=back), 1.6 if back else 1.3, "per_program",
    )
    for dtype in (torch.float32, torch.bfloat16)
    for back in (False, True)
)  # fmt: skip
