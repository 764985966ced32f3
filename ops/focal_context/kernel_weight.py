"""The gradient of a level's taps in Triton: columns slide through registers past those of the output's gradient.

Shapes as in `ops.focal_context.kernel_levels`; a program takes several tiles and writes its share of the gradient.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ops.focal_context.kernel_levels import CHANNELS, ROWS, column_of, steps_of, tile_of
from ops.kernel import CONVOLUTION, POINTERS, REGISTER_TILED, Configuration

COLUMNS = {3: 8, 5: 8, 7: 7, 9: 4, 11: 4}
"""Columns of a tile, by the taps of a side: there is a sum for each tap in registers, too."""
SIZES = ["channels", "height", "width", "x_n", "x_h", "x_w", "tiles", "share", "tall"]
SHARE = 16
"""Tiles of a program: what is written is little beside what is read."""


@triton.jit(do_not_specialize=SIZES)
def weight_kernel(
    x, grad, parts, channels, height, width, x_n, x_h, x_w, tiles, share, tall,
    TAPS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Write [programs, K * K, C], each of `share` of the tiles."""
    channels, x_n, x_h, x_w = channels // 8 * 8, x_n // 8 * 8, x_h // 8 * 8, x_w // 8 * 8
    first = tl.program_id(0) * share
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]
    parts += tl.program_id(0).to(tl.int64) * TAPS * TAPS * channels
    nothing = tl.zeros([ROWS, CHANNELS], tl.float32)
    for k in range(tall):
        total = (nothing,) * TAPS
        for tile in range(first, tl.minimum(first + share, tiles)):
            image, row, column = tile_of(tile, height, width, ROWS, COLUMNS)
            row = row + tl.arange(0, ROWS)[:, None]
            inside = (row < height) & (channel < channels)
            of_image, places = grad + image * height * width * channels, row * width * channels + channel
            grads = (nothing,) * COLUMNS
            for i in tl.static_range(COLUMNS):
                value = column_of(of_image, places, inside, column + i, width, channels)
                grads = grads[:i] + (value,) + grads[i + 1 :]
            rows = row + k - TAPS // 2
            inside, places = (rows >= 0) & (rows < height) & (channel < channels), rows * x_h + channel
            for i in tl.static_range(COLUMNS + TAPS - 1):
                value = column_of(x + image * x_n, places, inside, column + i - TAPS // 2, width, x_w)
                for j in tl.static_range(TAPS):
                    if i >= j and i - j < COLUMNS:
                        total = total[:j] + (total[j] + value * grads[i - j],) + total[j + 1 :]
        for j in tl.static_range(TAPS):
            found = tl.sum(total[j], 0, keep_dims=True)
            tl.store(parts + (k * TAPS + j) * channels + channel, found, mask=channel < channels)


def _configured(dtype: torch.dtype, taps: int) -> Configuration:
    columns = COLUMNS[taps]
    if taps == 7 and dtype == torch.float32:
        columns = 4  # the columns of the gradient are kept as they were read: twice the registers of bf16
    return Configuration(
        name=f"weight {str(dtype).removeprefix('torch.')} {taps}",
        kernel=weight_kernel,
        types={
            **dict.fromkeys(("x", "grad"), POINTERS[dtype]),
            "parts": "*fp32",
            **dict.fromkeys(SIZES, "i32"),
        },
        constants={"TAPS": taps, "ROWS": ROWS, "COLUMNS": columns, "CHANNELS": CHANNELS},
        # three taps are too few to use a value seven times
        limits=REGISTER_TILED if taps == 3 else CONVOLUTION,
        num_warps=2,
        wavefronts=1,
        vector_bits=128 if dtype == torch.float32 else 64,
    )


TABLE = {(dtype, taps): _configured(dtype, taps) for dtype in POINTERS for taps in COLUMNS}
CONFIGURATIONS = tuple(TABLE.values())


def weight_gradient(x: Tensor, grad: Tensor, side: int) -> Tensor:
    """Return the gradient [K * K, C] in float32, of `x` [N, C, H, W] as levels take it, and of `grad` [N, H, W, C]."""
    images, height, width, channels = grad.shape
    chosen = TABLE[x.dtype, side]
    tiles = images * triton.cdiv(height, ROWS) * triton.cdiv(width, chosen.constants["COLUMNS"])
    programs = triton.cdiv(tiles, SHARE)
    parts = torch.empty(programs, side * side, channels, dtype=torch.float32, device=x.device)
    sizes = (channels, height, width, *steps_of(x), tiles, SHARE, side)
    chosen.launch((programs, triton.cdiv(channels, CHANNELS)), x, grad, parts, *sizes)
    return parts.sum(0)
