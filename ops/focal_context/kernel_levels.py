"""A level of a focal context in Triton, forward and backward: a convolution whose columns slide through registers.

A program owns a tile of rows x columns of one image and a block of channels. For each row of taps it loads each column
of the map once and adds it to all output columns that it meets. The rest is done on the way out: GELU, the product with
the gate, the sum of levels and, of the last one, the sum over positions.

Shapes: maps [N, H, W, C], channels side by side; taps [K * K, C]. C and the strides of `x` are multiples of 8, for
vector loads; all other maps are without gaps.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ops.kernel import CONVOLUTION, POINTERS, REGISTER_TILED, Configuration

CHANNELS, ROWS = 32, 8
"""Channels of a tile, and rows of one where a program takes several."""
TALL = 16
"""Rows of a tile that is a program's only one: programs of lower ones would share many rows."""
COLUMNS = {3: 8, 5: 8, 7: 8, 9: 8, 11: 6}
"""Columns of a tile, by the taps of a side."""
BOUNDED = {
    (torch.bfloat16, 11, False): 168,
    **{(dtype, taps, True): 160 for dtype in POINTERS for taps in (9, 11)},
    (torch.float32, 9, True): 152,
}
"""Registers of a thread where the assembler would take more, or spill some for want of a bound."""
SIZES = [
    "channels", "height", "width", "tall", "tap_first", "tap_step", "gates_n", "gates_l", "gates_h", "gates_w", "level",
]  # fmt: skip
FORWARD = ["x_n", "x_h", "x_w", "activates", "aggregates", "previous", "adds", "keeps", "passes"]
BACKWARD = ["levels", "images", "last"]
WRITTEN = ("before", "total", "y", "z")


@triton.jit
def tile_of(tile, height, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Return image, first row and first column of a tile."""
    across, down = tl.cdiv(width, COLUMNS), tl.cdiv(height, ROWS)
    rest = tile // across
    return (rest // down).to(tl.int64), rest % down * ROWS, tile % across * COLUMNS


@triton.jit
def column_of(map, places, inside, column, width, stride):
    """Return one column of the places [ROWS, CHANNELS] of a map's column 0, zeros beyond the border."""
    return tl.load(map + (places + column * stride), mask=inside & (column >= 0) & (column < width), other=0.0).to(
        tl.float32
    )


@triton.jit
def _convolved(
    x, taps, row, column, channel, channels, height, width, tall, x_h, x_w, tap_first, tap_step,
    TAPS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Return the columns of a tile, nothing of `tall` 0; `tap_first` and `tap_step` also turn the taps round."""
    total = (tl.zeros([ROWS, CHANNELS], tl.float32),) * COLUMNS
    for k in range(tall):
        rows = row + k - TAPS // 2
        tap = (total[0],) * TAPS
        for j in tl.static_range(TAPS):
            # an index for each place: a row of taps would change threads on its way to the tile
            place = (tap_first + (k * TAPS + j) * tap_step) * channels + channel + row * 0
            found = tl.load(taps + place, mask=(channel < channels) & (row >= 0), other=0.0)
            tap = tap[:j] + (found.to(tl.float32),) + tap[j + 1 :]
        inside, places = (rows >= 0) & (rows < height) & (channel < channels), rows * x_h + channel
        for i in tl.static_range(COLUMNS + TAPS - 1):
            value = column_of(x, places, inside, column + i - TAPS // 2, width, x_w)
            for j in tl.static_range(TAPS):
                if i >= j and i - j < COLUMNS:
                    total = total[: i - j] + (total[i - j] + value * tap[j],) + total[i - j + 1 :]
    return total


@triton.jit
def cumulative(x):
    """Return what GELU multiplies its argument by: the normal distribution up to there."""
    return 0.5 * (1 + tl.erf(x * 0.7071067811865476))


@triton.jit(do_not_specialize=SIZES + FORWARD)
def level_kernel(
    x, taps, gates, before, total, y, z, sums,
    channels, height, width, tall, tap_first, tap_step, gates_n, gates_l, gates_h, gates_w, level,
    x_n, x_h, x_w, activates, aggregates, previous, adds, keeps, passes, scale,
    TAPS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Convolve a tile and write it to `z` (keeps), activated to `y` (passes), gated to the sum of levels (aggregates).

    The sum takes up the level before, which is at hand as `x` (previous), and the sum so far (adds).
    """
    image, top, column = tile_of(tl.program_id(0), height, width, ROWS, COLUMNS)
    channels, x_h, x_w = channels // 8 * 8, x_h // 8 * 8, x_w // 8 * 8
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]
    x += image * (x_n // 8 * 8)
    start = image * height * width * channels
    before, total, y, z = before + start, total + start, y + start, z + start
    whole = tl.zeros([ROWS, CHANNELS], tl.float32)
    gates += image * gates_n + level * gates_l
    row = top + tl.arange(0, ROWS)[:, None]
    out = _convolved(x, taps, row, column, channel, channels, height, width, tall, x_h, x_w, tap_first, tap_step,
                     TAPS, ROWS, COLUMNS, CHANNELS)  # fmt: skip
    for i in tl.static_range(COLUMNS):
        at, on_map = column + i, (row < height) & (column + i < width)
        inside = on_map & (channel < channels)
        place = (row * width + at) * channels + channel
        tl.store(z + place, out[i].to(z.dtype.element_ty), mask=inside & (keeps != 0))
        if activates != 0:
            active = out[i] * cumulative(out[i])
            whole += tl.where(inside, active, 0.0)
            tl.store(y + place, active.to(y.dtype.element_ty), mask=inside & (passes != 0))
            if aggregates != 0:
                gate = gates + (row * gates_h + at * gates_w)
                own = tl.load(gate, mask=on_map, other=0.0).to(tl.float32)
                other = tl.load(gate - gates_l, mask=on_map & (previous != 0), other=0.0).to(tl.float32)
                beside = tl.load(x + (row * x_h + at * x_w + channel), mask=inside & (previous != 0), other=0.0)
                had = tl.load(before + place, mask=inside & (adds != 0), other=0.0).to(tl.float32)
                had += (active * own + beside.to(tl.float32) * other) * scale
                tl.store(total + place, had.to(total.dtype.element_ty), mask=inside)
    share = tl.program_id(0) * channels + channel
    found = tl.sum(whole, 0, keep_dims=True)
    tl.store(sums + share, found, mask=(channel < channels) & (activates != 0) & (passes == 0))


@triton.jit(do_not_specialize=SIZES + BACKWARD)
def level_backward_kernel(
    x, taps, grad, gates, z, d_mean, d_z, d_gates,
    channels, height, width, tall, tap_first, tap_step, gates_n, gates_l, gates_h, gates_w, level, levels, images, last,
    scale,
    TAPS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Write the gradient of a tile before its activation, and the gate's share [blocks of channels, N, L, H, W].

    `x` is that gradient of the next level, to convolve by that one's taps turned round; of the last level (last) what
    the mean adds takes its place.
    """
    image, top, column = tile_of(tl.program_id(0), height, width, ROWS, COLUMNS)
    channels = channels // 8 * 8
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]
    start = image * height * width * channels
    x, grad, z, d_z = x + start, grad + start, z + start, d_z + start
    lane = tl.arange(0, ROWS)[:, None]
    of_mean = tl.load(
        d_mean + (image * channels + channel + lane * 0), mask=(channel < channels) & (last != 0) & (lane >= 0),
        other=0.0,
    )  # fmt: skip
    gates += image * gates_n + level * gates_l
    d_gates += ((tl.program_id(1) * images + image) * levels + level) * height * width
    row = top + lane
    through = _convolved(x, taps, row, column, channel, channels, height, width, tall, width * channels,
                         channels, tap_first, tap_step, TAPS, ROWS, COLUMNS, CHANNELS)  # fmt: skip
    for i in tl.static_range(COLUMNS):
        at, on_map = column + i, (row < height) & (column + i < width)
        inside = on_map & (channel < channels)
        place = (row * width + at) * channels + channel
        g = tl.load(grad + place, mask=inside, other=0.0).to(tl.float32) * scale
        value = tl.load(z + place, mask=inside, other=0.0).to(tl.float32)
        below = cumulative(value)
        gate = tl.load(gates + (row * gates_h + at * gates_w), mask=on_map, other=0.0).to(tl.float32)
        slope = below + value * 0.3989422804014327 * tl.exp(-0.5 * value * value)
        found = (through[i] + of_mean + g * gate) * slope
        tl.store(d_z + place, found.to(d_z.dtype.element_ty), mask=inside)
        tl.store(d_gates + (row * width + at), tl.sum(g * value * below, 1, keep_dims=True), mask=on_map)


def _configured(dtype: torch.dtype, taps: int, backward: bool) -> Configuration:
    maps = ("x", "taps", "grad", "gates", "z", "d_z") if backward else ("x", "taps", "gates", *WRITTEN)
    numbers = ("d_mean", "d_gates") if backward else ("sums",)
    return Configuration(
        name=f"level {'backward' if backward else 'forward'} {str(dtype).removeprefix('torch.')} {taps}",
        kernel=level_backward_kernel if backward else level_kernel,
        types={
            **dict.fromkeys(maps, POINTERS[dtype]),
            **dict.fromkeys(numbers, "*fp32"),
            **dict.fromkeys(SIZES + (BACKWARD if backward else FORWARD), "i32"),
            "scale": "fp32",
        },
        constants={"TAPS": taps, "ROWS": TALL, "COLUMNS": COLUMNS[taps], "CHANNELS": CHANNELS},
        # three taps are too few to use a value seven times
        limits=REGISTER_TILED if taps == 3 else CONVOLUTION,
        num_warps=4,
        wavefronts=2,
        registers=BOUNDED.get((dtype, taps, backward)),
        vector_bits=128 if dtype == torch.float32 else 64,
    )


TABLE = {
    (dtype, taps, backward): _configured(dtype, taps, backward)
    for dtype in POINTERS
    for taps in COLUMNS
    for backward in (False, True)
}
CONFIGURATIONS = tuple(TABLE.values())


def programs_of(chosen: Configuration, height: int, width: int) -> int:
    """Return how many programs share the positions of an image."""
    return triton.cdiv(height, TALL) * triton.cdiv(width, chosen.constants["COLUMNS"])


def steps_of(x: Tensor) -> tuple[int, int, int]:
    """Return the strides of images, rows and columns of a map [N, C, H, W]."""
    return x.stride(0), x.stride(2), x.stride(3)


def level(
    x: Tensor, taps: Tensor, first: int, side: int, gates: Tensor, number: int, scale: float, *,
    total: Tensor | None, y: Tensor | None, z: Tensor | None,
) -> Tensor:  # fmt: skip
    """Write what is given of level `number`, whose taps start at `first`: see the kernel.

    Return the sums over tiles of the activated map [N, tiles, C]; none where there is a `y` to go on
    with.
    """
    images, channels, height, width = x.shape
    chosen = TABLE[x.dtype, side, False]
    programs, adds = programs_of(chosen, height, width), total is not None and number > 1
    sums = torch.empty(images, 0 if y is not None else programs, channels, dtype=torch.float32, device=x.device)
    flags = (True, total is not None, total is not None and number % 2 == 1, adds, z is not None, y is not None)
    total, y, z = (x if each is None else each for each in (total, y, z))
    chosen.launch(
        (images * programs, triton.cdiv(channels, CHANNELS)), x, taps, gates, total, total, y, z,
        sums, channels, height, width, side, first, 1, *gates.stride(), number, *steps_of(x),
        *map(int, flags), scale,
    )  # fmt: skip
    return sums


def level_backward(
    d_next: Tensor | None, taps: Tensor, first: int, side: int, grad: Tensor, gates: Tensor, number: int, z: Tensor,
    d_mean: Tensor, d_gates: Tensor, scale: float,
) -> Tensor:  # fmt: skip
    """Return the gradient of level `number` before its activation [N, H, W, C], and write that of its gate.

    `d_next` is the next level's, whose taps start at `first`; None for the last level.
    """
    images, height, width, channels = grad.shape
    chosen, d_z = TABLE[grad.dtype, side, True], torch.empty_like(grad)
    tall = 0 if d_next is None else side
    d_next = grad if d_next is None else d_next
    sizes = (
        channels,
        height,
        width,
        tall,
        first + side * side - 1,
        -1,
        *gates.stride(),
        number,
        gates.shape[1],
        images,
    )
    chosen.launch(
        (images * programs_of(chosen, height, width), len(d_gates)), d_next, taps, grad, gates, z, d_mean, d_z, d_gates,
        *sizes, int(tall == 0), scale,
    )  # fmt: skip
    return d_z


def turned(grad: Tensor, taps: Tensor, first: int, side: int, out: Tensor) -> None:
    """Convolve [N, H, W, C] by the taps from `first` on, turned round: the gradient of what a level convolves."""
    images, height, width, channels = grad.shape
    chosen = TABLE[grad.dtype, side, False]
    sizes = (channels, height, width, side, first + side * side - 1, -1, 0, 0, 0, 0, 0)
    grid = (images * programs_of(chosen, height, width), triton.cdiv(channels, CHANNELS))
    nothing = torch.empty(0, dtype=torch.float32, device=grad.device)
    chosen.launch(
        grid, grad, taps, grad, grad, grad, grad, out, nothing, *sizes,
        *steps_of(grad.permute(0, 3, 1, 2)), 0, 0, 0, 0, 1, 0, 1.0,
    )  # fmt: skip
