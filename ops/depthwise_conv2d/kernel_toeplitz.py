"""Triton kernels for contiguous maps: rows of pixels times Toeplitz matrices of taps, on tensor cores.

For one channel and one row of taps, output columns are input columns times a matrix that holds the taps along its
diagonals. A program owns rows x columns of the output of one channel, its rows counted through the images, and adds up
such products for every row of taps. The kernel's gradient is the sum along the diagonals of input columns times columns
of the output's gradient. Each pass reads its maps once from memory and again, shifted, from a cache.

Numbers of float32 are multiplied as three parts of bf16 each, six of the nine products: exact to 1e-6 and as fast as
three products of tf32, which AMD's devices lack. A number that is not finite also reaches columns that no tap joins it
to, as a product by 0.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import triton
import triton.language as tl
from torch import Tensor

from ops.kernel import CONVOLUTION, POINTERS, Configuration, Movement, aligned

SIZES = ["rows", "height", "width", "tall", "wide", "dilation"]
STRIDES = ["x_n", "x_c", "x_h"]
FORWARD = ["has_bias", "turned", "out_n", "out_c", "out_h"]
WEIGHT = ["channels", "tiles", "share", "grad_n", "grad_c", "grad_h"]
SHARE = 256
"""Rows of which a program sums the kernel's gradient: few enough to stay in a cache."""
PRECISION = {torch.float32: "bf16x6", torch.bfloat16: "ieee", torch.float16: "ieee"}
NARROW = 16
"""Width of maps up to which a program's columns are as many."""
FAR = 8
"""Pixels to one side from which a kernel reaches far: programs then have more columns."""


@triton.jit
def diagonals(source, target, wide, dilation):
    """Return which of a row's taps joins input columns to output columns, and whether there is one."""
    apart = source[:, None] - target[None, :] + wide // 2 * dilation
    # a multiple of the dilation is divided exactly by this product, and what else comes out is no tap's place
    tap = (apart * (65536 // dilation + 1)) >> 16
    return tap, (tap * dilation == apart) & (tap >= 0) & (tap < wide)


@triton.jit
def rows_of(x, starts, inside, row, columns, height, width, x_h):
    """Return rows of a map [ROWS, columns], zeros beyond the border; `starts` is where their images lie."""
    there = inside & (row >= 0) & (row < height)
    places = x + (starts + row * x_h)[:, None] + columns[None, :]
    return tl.load(places, mask=there[:, None] & (columns < width)[None, :], other=0.0)


@triton.jit
def products(total, x, weight, starts, inside, row, column, height, width, x_h, tall, wide, dilation, sign,
             COLUMNS: tl.constexpr, DEPTH: tl.constexpr, PRECISION: tl.constexpr):  # fmt: skip
    """Add the convolution of rows of one map; taps go on in memory, or back if `sign` is -1."""
    target, spread = column + tl.arange(0, COLUMNS), wide // 2 * dilation
    reach = tl.minimum(tall // 2, (height - 1) // dilation)
    first = tl.maximum(column - spread, 0) // 8 * 8
    for begin in range(first, tl.minimum(column + COLUMNS + spread, width), DEPTH):
        source = begin + tl.arange(0, DEPTH)
        tap, known = diagonals(source, target, wide, dilation)
        for k in range(-reach, reach + 1):
            values = rows_of(x, starts, inside, row + k * dilation, source, height, width, x_h)
            matrix = tl.load(weight + ((k + tall // 2) * wide + tap) * sign, mask=known, other=0.0)
            total = tl.dot(values, matrix, total, input_precision=PRECISION)
    return total


@triton.jit(do_not_specialize=SIZES + STRIDES + FORWARD)
def toeplitz(
    x, weight, bias, out, has_bias, turned, rows, height, width, tall, wide, dilation,
    x_n, x_c, x_h, out_n, out_c, out_h,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, PRECISION: tl.constexpr, VECTOR: tl.constexpr,
):  # fmt: skip
    """Convolve; `turned` 1 takes the taps in reverse order, which makes it the gradient of x."""
    if VECTOR:
        width, x_n, x_c, x_h = width // 8 * 8, x_n // 8 * 8, x_c // 8 * 8, x_h // 8 * 8
        out_n, out_c, out_h = out_n // 8 * 8, out_c // 8 * 8, out_h // 8 * 8
    across, channel = tl.cdiv(width, COLUMNS), tl.program_id(1).to(tl.int64)
    column = tl.program_id(0) % across * COLUMNS
    line = tl.program_id(0) // across * ROWS + tl.arange(0, ROWS)
    inside, image, row = line < rows, (line // height).to(tl.int64), line % height
    weight += channel * tall * wide + turned * (tall * wide - 1)
    total = products(
        tl.zeros([ROWS, COLUMNS], tl.float32), x + channel * x_c, weight, image * x_n, inside, row, column, height,
        width, x_h, tall, wide, dilation, 1 - 2 * turned, COLUMNS, DEPTH, PRECISION,
    )  # fmt: skip
    total += tl.where(has_bias != 0, tl.load(bias + channel).to(tl.float32), 0.0)
    target = column + tl.arange(0, COLUMNS)
    places = out + channel * out_c + (image * out_n + row * out_h)[:, None] + target[None, :]
    tl.store(places, total.to(out.dtype.element_ty), mask=inside[:, None] & (target < width)[None, :])


@triton.jit(do_not_specialize=SIZES + STRIDES + WEIGHT)
def toeplitz_weight(
    x, grad, parts, shifts, channels, tiles, share, rows, height, width, tall, wide, dilation,
    x_n, x_c, x_h, grad_n, grad_c, grad_h,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, GROUP: tl.constexpr, TAPS: tl.constexpr,
    PRECISION: tl.constexpr, VECTOR: tl.constexpr,
):  # fmt: skip
    """Write the gradients of the kernel's reachable rows [programs, C, rows, L] and of the bias [programs, C].

    GROUP rows of taps are taken at a time: beside one another as columns of the map, each of them shifted by more rows.
    """
    if VECTOR:
        width, x_n, x_c, x_h = width // 8 * 8, x_n // 8 * 8, x_c // 8 * 8, x_h // 8 * 8
        grad_n, grad_c, grad_h = grad_n // 8 * 8, grad_c // 8 * 8, grad_h // 8 * 8
    across, own = tl.cdiv(width, COLUMNS), tl.program_id(0).to(tl.int64) * channels + tl.program_id(1)
    x += tl.program_id(1).to(tl.int64) * x_c
    grad += tl.program_id(1).to(tl.int64) * grad_c
    reach, spread = tl.minimum(tall // 2, (height - 1) // dilation), wide // 2 * dilation
    low, high = tl.where(across == 1, 0, -(spread + 7) // 8 * 8), tl.where(across == 1, width, COLUMNS + spread)
    target, lane, tap = tl.arange(0, COLUMNS), tl.arange(0, GROUP * DEPTH), tl.arange(0, TAPS)
    shift = tl.zeros([COLUMNS], tl.float32)
    for k in range(-reach, reach + 1, GROUP):
        found = (tl.zeros([TAPS], tl.float32),) * GROUP
        for begin in range(low, high, DEPTH):
            total = tl.zeros([GROUP * DEPTH, COLUMNS], tl.float32)
            for tile in range(tl.program_id(0) * share, tl.minimum(tl.program_id(0) * share + share, tiles)):
                column, line = tile % across * COLUMNS, tile // across * ROWS + tl.arange(0, ROWS)
                inside, image, row = line < rows, (line // height).to(tl.int64), line % height
                grads = rows_of(grad, image * grad_n, inside, row, column + target, height, width, grad_h)
                source, down = column + begin + lane % DEPTH, row[:, None] + (k + lane // DEPTH)[None, :] * dilation
                there = inside[:, None] & (down >= 0) & (down < height) & ((source >= 0) & (source < width))[None, :]
                places = x + (image * x_n)[:, None] + down * x_h + source[None, :]
                values = tl.load(places, mask=there, other=0.0)
                total = tl.dot(tl.trans(values), grads, total, input_precision=PRECISION)
                if (k == -reach) & (begin == low):
                    shift += tl.sum(grads.to(tl.float32), 0)
            place = tap[:, None] * dilation + target[None, :] - spread - begin
            known = (place >= 0) & (place < DEPTH) & (tap < wide)[:, None]
            for i in tl.static_range(GROUP):
                along = tl.gather(total, tl.where(known, place + i * DEPTH, 0), 0)
                found = found[:i] + (found[i] + tl.sum(tl.where(known, along, 0.0), 1),) + found[i + 1 :]
        for i in tl.static_range(GROUP):
            line = (own * (2 * reach + 1) + k + i + reach) * wide
            tl.store(parts + line + tap, found[i], mask=(tap < wide) & (k + i <= reach))
    tl.store(shifts + own, tl.sum(shift, 0))


def _configured(dtype: torch.dtype, columns: int, vector: bool, weight: bool) -> Configuration:
    single, depth = dtype == torch.float32, min(columns, 32)
    if weight:
        rows, warps = 16 if single else 64 if vector else 32, 4
        constants = {"ROWS": rows, "COLUMNS": columns, "DEPTH": depth, "GROUP": 64 // depth, "TAPS": 64}
    else:
        rows = 32 if single and columns == 64 else 64 if single or not vector else 128
        warps = 8 if not vector or columns == 64 else 4
        constants = {"ROWS": rows, "COLUMNS": columns, "DEPTH": 16 if single or not vector else depth}
    maps, numbers = (("x", "grad"), ("parts", "shifts")) if weight else (("x", "weight", "bias", "out"), ())
    integers = [*SIZES, *STRIDES, *(WEIGHT if weight else FORWARD)]
    words = ("weight" if weight else "forward", str(dtype).removeprefix("torch."), str(columns))
    return Configuration(
        name=" ".join(["toeplitz", *words, *["divisible"] * vector]),
        kernel=toeplitz_weight if weight else toeplitz,
        types={
            **dict.fromkeys(maps, POINTERS[dtype]),
            **dict.fromkeys(numbers, "*fp32"),
            **dict.fromkeys(integers, "i32"),
        },
        constants={**constants, "PRECISION": PRECISION[dtype], "VECTOR": vector},
        limits=CONVOLUTION,
        num_warps=warps,
        vector_bits=_vector_bits(dtype, weight) if vector else 0,
    )


def _vector_bits(dtype: torch.dtype, weight: bool) -> int:
    """Return the width of most loads on all targets: maps are read in 128 bits, and AMD's wavefronts, twice as many
    threads, share a tile in pieces half as wide; taps and the sums of a program come one by one."""
    return 64 if not weight else 32 if dtype == torch.float32 else 128


TABLE = {
    (dtype, columns, vector, weight): _configured(dtype, columns, vector, weight)
    for dtype in POINTERS
    for columns in (16, 32, 64)
    for vector in (False, True)
    for weight in (False, True)
    if columns <= 32 or not weight
}
CONFIGURATIONS = tuple(TABLE.values())


def laid(x: Tensor) -> Tensor:
    """Return a map whose columns lie side by side."""
    return aligned(x if x.stride(3) == 1 or x.shape[3] == 1 else x.contiguous())


def divisible(*maps: Tensor) -> bool:
    """Whether all rows of laid maps begin at multiples of 8 numbers and end at one."""
    return all(size % 8 == 0 for x in maps for size in (x.shape[3], *x.stride()[:3]))


def strides(x: Tensor) -> tuple[int, int, int]:
    """Return the strides that a kernel takes; of axes of size 1 any would do."""
    batch, channel, row, _ = x.stride()
    return batch, channel, row


def columns_of(x: Tensor, spread: int, *, weight: bool = False) -> int:
    """Return the columns of a program for kernels that reach so many to one side, so that few are read twice."""
    width = x.shape[3]
    return NARROW if width <= NARROW else 64 if width > 32 and spread > FAR and not weight else 32


def configuration(wide: int, dilation: int, *maps: Tensor, weight: bool = False) -> Configuration:
    """Return how laid maps of one shape are convolved, or the kernel's gradient is taken."""
    columns = columns_of(maps[0], wide // 2 * dilation, weight=weight)
    return TABLE[maps[0].dtype, columns, divisible(*maps), weight]


def forward(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, *, back: bool = False) -> Tensor:
    """Return the contiguous convolution of x; with `back` by the taps in reverse order."""
    x, weight = laid(x), aligned(weight.contiguous())
    count, channels, height, width = x.shape
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    chosen = configuration(weight.shape[3], dilation, x, out)
    grid = (
        triton.cdiv(count * height, chosen.constants["ROWS"]) * triton.cdiv(width, chosen.constants["COLUMNS"]),
        channels,
    )
    sizes = (count * height, height, width, *weight.shape[2:], dilation)
    shift = weight if bias is None else aligned(bias.contiguous())
    chosen.launch(grid, x, weight, shift, out, int(bias is not None), int(back), *sizes, *strides(x), *strides(out))
    return out


def weight_gradient(grad: Tensor, x: Tensor, tall: int, wide: int, dilation: int) -> tuple[Tensor, Tensor]:
    """Return the gradients of the kernel [C, 1, K, L] and of the bias [C] in float32."""
    x, grad = laid(x), laid(grad)
    count, channels, height, width = x.shape
    chosen = configuration(wide, dilation, x, grad, weight=True)
    rows, across = chosen.constants["ROWS"], triton.cdiv(width, chosen.constants["COLUMNS"])
    tiles, share = triton.cdiv(count * height, rows) * across, SHARE // rows * across
    programs, reach = triton.cdiv(tiles, share), min(tall // 2, (height - 1) // dilation)
    parts = torch.empty(programs, channels, 2 * reach + 1, wide, dtype=torch.float32, device=x.device)
    shifts = torch.empty(programs, channels, dtype=torch.float32, device=x.device)
    sizes = (channels, tiles, share, count * height, height, width, tall, wide, dilation)
    chosen.launch((programs, channels), x, grad, parts, shifts, *sizes, *strides(x), *strides(grad))
    below = tall // 2 - reach
    return torch.nn.functional.pad(parts.sum(0), (0, 0, below, below)).unsqueeze(1), shifts.sum(0)


def _moved(
    dtype: torch.dtype, size: tuple[int, ...], side: int, guarded: Callable[[Tensor], Tensor], *, back: bool
) -> int:
    x, weight = (guarded(torch.randn(each).to(dtype)) for each in (size, (size[1], 1, side, side)))
    if back:
        weight_gradient(guarded(torch.randn(size).to(dtype)), x, side, side, 1)
        return 2 * x.numel() * x.element_size() + 4 * weight.numel()
    forward(x, weight, None, 1)
    return (2 * x.numel() + weight.numel()) * x.element_size()


MOVEMENTS = tuple(
    Movement(
        f"toeplitz {'weight' if back else 'forward'} {side}x{side} of {size[2:]} {str(dtype).removeprefix('torch.')}",
        partial(_moved, dtype, size, side, back=back), 1.6 if back else 1.3, "per_program",
    )
    for dtype in (torch.float32, torch.bfloat16)
    for back in (False, True)
    for size, side in (((32, 1, 14, 14), 7), ((8, 1, 16, 32), 13), ((2, 1, 16, 64), 31))
)  # fmt: skip
