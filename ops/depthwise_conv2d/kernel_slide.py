"""Triton kernels for maps in channels_last and kernels with a side of at most 11 taps: columns slide through registers.

A program owns a tile of rows x columns of one image and a block of channels. For each row of taps it loads each column
of the map once and adds it to all output columns that it meets; the kernel's gradient is summed the same way. A map of
dilation d is d x d interleaved maps without one.

Shapes: maps [N, H, W, C], channels side by side; taps [K * L, C]. C and all strides are multiples of 8, for vector
loads. The side that slides is W, and L is the longest side of at most 11 taps: where that is K, callers swap both.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from ops.depthwise_conv2d.registered import LONGEST
from ops.kernel import CONVOLUTION, POINTERS, REGISTER_TILED, Configuration, Movement, aligned

SIZES = ["channels", "height", "width", "tall", "wide", "dilation", "x_n", "x_h", "x_w"]
FORWARD = ["has_bias", "out_n", "out_h", "out_w", "tap_first", "tap_h", "tap_w"]
WEIGHT = ["grad_n", "grad_h", "grad_w", "tiles", "share"]
CHANNELS, ROWS = 32, 8
COLUMNS = {3: 8, 5: 8, 7: 8, 11: 7}
"""Columns of a tile, by the number of taps that slide."""
WEIGHT_COLUMNS = {3: 8, 7: 7, 11: 4}
"""The same for the kernel's gradient, which has a sum for each tap in registers too."""


@triton.jit
def tile_of(tile, height, width, dilation, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Return image, first row and column of a tile, and where rows and columns of its interleaved map begin."""
    across, down = tl.cdiv(tl.cdiv(width, dilation), COLUMNS), tl.cdiv(tl.cdiv(height, dilation), ROWS)
    column, rest = tile % across * COLUMNS, tile // across
    row, rest = rest % down * ROWS, rest // down
    left, rest = rest % dilation, rest // dilation
    return (rest // dilation).to(tl.int64), row, column, rest % dilation, left


@triton.jit
def column_of(map, places, inside, column, width, stride):
    """Return one column of the places [ROWS, CHANNELS] of a map's column 0, zeros beyond the border."""
    return tl.load(map + (places + column * stride), mask=inside & (column >= 0) & (column < width), other=0.0).to(
        tl.float32
    )


@triton.jit(do_not_specialize=SIZES + FORWARD)
def slide(
    x, weight, bias, out, channels, height, width, tall, wide, dilation, x_n, x_h, x_w, has_bias, out_n, out_h, out_w,
    tap_first, tap_h, tap_w,
    TAPS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Convolve; `tap_first`, `tap_h` and `tap_w` say where the taps stand, which also turns them round."""
    image, row, column, top, left = tile_of(tl.program_id(0), height, width, dilation, ROWS, COLUMNS)
    channels, x_h, x_w = channels // 8 * 8, x_h // 8 * 8, x_w // 8 * 8
    out_h, out_w = out_h // 8 * 8, out_w // 8 * 8
    x += image * (x_n // 8 * 8)
    out += image * (out_n // 8 * 8)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]
    row = row + tl.arange(0, ROWS)[:, None]
    total = (tl.zeros([ROWS, CHANNELS], tl.float32),) * COLUMNS
    for k in range(tall):
        rows = top + (row + k - tall // 2) * dilation
        taps = (total[0],) * TAPS
        for j in tl.static_range(TAPS):
            place = (tap_first + k * tap_h + j * tap_w) * channels + channel + row * 0
            tap = tl.load(weight + place, mask=(channel < channels) & (wide > j) & (row >= 0), other=0.0)
            taps = taps[:j] + (tap.to(tl.float32),) + taps[j + 1 :]
        inside, places = (rows >= 0) & (rows < height) & (channel < channels), rows * x_h + channel
        for i in tl.static_range(COLUMNS + TAPS - 1):
            value = column_of(x, places, inside, left + (column + i - wide // 2) * dilation, width, x_w)
            for j in tl.static_range(TAPS):
                if i >= j and i - j < COLUMNS:
                    total = total[: i - j] + (total[i - j] + value * taps[j],) + total[i - j + 1 :]
    rows = top + row * dilation
    shift = tl.load(bias + channel, mask=(channel < channels) & (has_bias != 0), other=0.0).to(tl.float32)
    for i in tl.static_range(COLUMNS):
        at = left + (column + i) * dilation
        inside = (rows < height) & (channel < channels) & (at < width)
        tl.store(out + rows * out_h + at * out_w + channel, (total[i] + shift).to(out.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=SIZES + WEIGHT)
def slide_weight(
    x, grad, parts, shifts, channels, height, width, tall, wide, dilation, x_n, x_h, x_w, grad_n, grad_h, grad_w,
    tiles, share,
    TAPS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Write the kernel's gradient [programs, K * L, C] and the bias's [programs, C], each of `share` of the tiles."""
    channels, x_n, grad_n = channels // 8 * 8, x_n // 8 * 8, grad_n // 8 * 8
    x_h, x_w = x_h // 8 * 8, x_w // 8 * 8
    grad_h, grad_w = grad_h // 8 * 8, grad_w // 8 * 8
    first = tl.program_id(0) * share
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]
    known = channel < channels
    parts += tl.program_id(0).to(tl.int64) * tall * wide * channels
    shift = tl.zeros([ROWS, CHANNELS], tl.float32)
    for k in range(tall):
        total = (tl.zeros([ROWS, CHANNELS], tl.float32),) * TAPS
        for tile in range(first, tl.minimum(first + share, tiles)):
            image, row, column, top, left = tile_of(tile, height, width, dilation, ROWS, COLUMNS)
            row = row + tl.arange(0, ROWS)[:, None]
            rows, here = top + (row + k - tall // 2) * dilation, top + row * dilation
            inside, places = (here < height) & known, here * grad_h + channel
            grads = (shift,) * COLUMNS
            for i in tl.static_range(COLUMNS):
                value = column_of(grad + image * grad_n, places, inside, left + (column + i) * dilation, width, grad_w)
                grads = grads[:i] + (value,) + grads[i + 1 :]
            if k == 0:
                for i in tl.static_range(COLUMNS):
                    shift += grads[i]
            inside, places = (rows >= 0) & (rows < height) & known, rows * x_h + channel
            for i in tl.static_range(COLUMNS + TAPS - 1):
                value = column_of(
                    x + image * x_n, places, inside, left + (column + i - wide // 2) * dilation, width, x_w
                )
                for j in tl.static_range(TAPS):
                    if i >= j and i - j < COLUMNS:
                        total = total[:j] + (total[j] + value * grads[i - j],) + total[j + 1 :]
        for j in tl.static_range(TAPS):
            found, place = tl.sum(total[j], 0, keep_dims=True), k * wide + j
            tl.store(parts + place * channels + channel, found, mask=known & (wide > j))
    whole = tl.sum(shift, 0, keep_dims=True)
    tl.store(shifts + tl.program_id(0) * channels + channel, whole, mask=known)


def _configured(dtype: torch.dtype, taps: int, weight: bool) -> Configuration:
    columns = (WEIGHT_COLUMNS if weight else COLUMNS)[taps]
    if weight and taps == 7 and dtype == torch.float32:
        columns = 4  # the columns of the gradient are kept as they were read: twice the registers of bf16
    maps, numbers = (("x", "grad"), ("parts", "shifts")) if weight else (("x", "weight", "bias", "out"), ())
    return Configuration(
        name=f"slide {'weight' if weight else 'forward'} {str(dtype).removeprefix('torch.')} {taps}",
        kernel=slide_weight if weight else slide,
        types={
            **dict.fromkeys(maps, POINTERS[dtype]),
            **dict.fromkeys(numbers, "*fp32"),
            **dict.fromkeys(SIZES + (WEIGHT if weight else FORWARD), "i32"),
        },
        constants={"TAPS": taps, "ROWS": ROWS, "COLUMNS": columns, "CHANNELS": CHANNELS},
        # three taps are too few to use a value seven times
        limits=REGISTER_TILED if taps == 3 else CONVOLUTION,
        num_warps=2,
        wavefronts=1,
        vector_bits=128 if dtype == torch.float32 else 64,
    )


TABLE = {
    (dtype, taps, weight): _configured(dtype, taps, weight)
    for dtype in POINTERS
    for weight in (False, True)
    for taps in (WEIGHT_COLUMNS if weight else COLUMNS)
}
CONFIGURATIONS = tuple(TABLE.values())


def configuration(dtype: torch.dtype, wide: int, *, weight: bool = False) -> Configuration:
    """Return how kernels slide whose longest side of at most 11 taps is `wide`."""
    return TABLE[dtype, next(taps for taps in (WEIGHT_COLUMNS if weight else COLUMNS) if wide <= taps), weight]


class Turned(NamedTuple):
    """A convolution as the kernel sees it: rows and columns swapped or not, unreachable rows of taps left out."""

    swapped: bool
    height: int
    width: int
    tall: int
    wide: int
    skipped: int
    """Rows of taps above and below that meet no map."""

    def strides(self, x: Tensor) -> tuple[int, int, int]:
        """Return those of images, rows and columns."""
        batch, _, row, column = x.stride()
        return (batch, column, row) if self.swapped else (batch, row, column)


def turned(x: Tensor, tall: int, wide: int, dilation: int) -> Turned:
    """Return the sides in the order in which the longest of at most 11 taps slides."""
    swapped = wide > LONGEST or wide < tall <= LONGEST
    height, width = x.shape[2:]
    if swapped:
        height, width, tall, wide = width, height, wide, tall
    skipped = max(tall // 2 - (height - 1) // dilation, 0)
    return Turned(swapped, height, width, tall - 2 * skipped, wide, skipped)


def tiles_of(x: Tensor, sizes: Turned, dilation: int, chosen: Configuration) -> int:
    """Return the number of tiles of all images and interleaved maps."""
    down = triton.cdiv(triton.cdiv(sizes.height, dilation), chosen.constants["ROWS"])
    across = triton.cdiv(triton.cdiv(sizes.width, dilation), chosen.constants["COLUMNS"])
    return len(x) * dilation * dilation * down * across


def laid(x: Tensor) -> Tensor:
    """Return a map in channels_last whose positions begin at multiples of 8 numbers."""
    batch, channel, *places = x.stride()
    fits = (channel == 1 or x.shape[1] == 1) and not any(stride % 8 for stride in (batch, *places))
    # a contiguous map of one position counts as channels_last for PyTorch, with strides of 1
    room = torch.empty_strided(x.shape, _strides(x), dtype=x.dtype, device=x.device)
    return aligned(x if fits else room.copy_(x))


def _strides(x: Tensor) -> tuple[int, int, int, int]:
    _, channels, height, width = x.shape
    return channels * height * width, 1, channels * width, channels


def forward(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, *, back: bool = False) -> Tensor:
    """Return the convolution of x in channels_last; with `back` by the taps in reverse order."""
    x = laid(x)
    (channels, _, tall, wide), sizes = weight.shape, turned(x, *weight.shape[2:], dilation)
    taps = weight.reshape(channels, tall * wide).t().contiguous()
    out = torch.empty_strided(x.shape, _strides(x), dtype=x.dtype, device=x.device)
    chosen = configuration(x.dtype, sizes.wide)
    steps = (1, wide) if sizes.swapped else (wide, 1)
    first = sizes.skipped * steps[0]
    steps = (tall * wide - 1 - first, -steps[0], -steps[1]) if back else (first, *steps)
    shift = taps if bias is None else aligned(bias.contiguous())
    chosen.launch(
        (tiles_of(x, sizes, dilation, chosen), triton.cdiv(channels, CHANNELS)), x, taps, shift, out, channels,
        *sizes[1:5], dilation, *sizes.strides(x), int(bias is not None), *sizes.strides(out), *steps,
    )  # fmt: skip
    return out


def weight_gradient(grad: Tensor, x: Tensor, tall: int, wide: int, dilation: int) -> tuple[Tensor, Tensor]:
    """Return the gradients of the kernel [C, 1, K, L] and of the bias [C] in float32."""
    x, grad = laid(x), laid(grad)
    channels, sizes = x.shape[1], turned(x, tall, wide, dilation)
    chosen = configuration(x.dtype, sizes.wide, weight=True)
    tiles = tiles_of(x, sizes, dilation, chosen)
    taps = sizes.tall * sizes.wide
    # so many that the sums that are written are few beside what is read, and few enough to stay in a cache
    share = max(16, taps // (2 * x.element_size()))
    programs = triton.cdiv(tiles, share)
    parts = torch.empty(programs, taps, channels, dtype=torch.float32, device=x.device)
    shifts = torch.empty(programs, channels, dtype=torch.float32, device=x.device)
    chosen.launch(
        (programs, triton.cdiv(channels, CHANNELS)), x, grad, parts, shifts, channels, *sizes[1:5], dilation,
        *sizes.strides(x), *sizes.strides(grad), tiles, share,
    )  # fmt: skip
    found = parts.sum(0).t().reshape(channels, 1, sizes.tall, sizes.wide)
    found = torch.nn.functional.pad(found, (0, 0, sizes.skipped, sizes.skipped))
    return found.transpose(2, 3).contiguous() if sizes.swapped else found.contiguous(), shifts.sum(0)


def _moved(dtype: torch.dtype, side: int, guarded: Callable[[Tensor], Tensor], *, back: bool) -> int:
    size = (2, 32, 14, 14)
    x, grad = (guarded(torch.randn(size).to(dtype, memory_format=torch.channels_last)) for _ in range(2))
    weight = guarded(torch.randn(32, 1, side, side).to(dtype))
    if back:
        weight_gradient(grad, x, side, side, 1)
        return 2 * x.numel() * x.element_size() + 4 * weight.numel()
    forward(x, weight, None, 1)
    return (2 * x.numel() + weight.numel()) * x.element_size()


MOVEMENTS = tuple(
    Movement(
        f"slide {'weight' if back else 'forward'} {side}x{side} {str(dtype).removeprefix('torch.')}",
        partial(_moved, dtype, side, back=back),
        # around a tile of 8 x 8 places a kernel of 7 reads three more to each side, also where another program does
        1.6 if back else 2.0, "per_program",
    )
    for dtype in (torch.float32, torch.bfloat16)
    for back in (False, True)
    for side in (3, 7)
)  # fmt: skip
