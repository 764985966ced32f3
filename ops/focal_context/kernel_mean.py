"""What the mean of a map adds to a focal context in Triton: the last pass forward, and the first one backward."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ops.focal_context.kernel_levels import CHANNELS, cumulative
from ops.kernel import POINTERS, STREAMING, Configuration
from ops.layout import is_last

POSITIONS = 64
PROGRAMS = 2048
"""Programs from which a device is full: so many share the sums over positions."""
SIZES = ["channels", "area", "width", "gates_n", "gates_l", "gates_h", "gates_w", "level"]
BACKWARD = ["levels", "images"]


@triton.jit
def _gate_of(gates, image, level, p, area, width, gates_n, gates_l, gates_h, gates_w):
    """Return the gates of some positions."""
    place = image * gates_n + (level * gates_l + p // width * gates_h + p % width * gates_w)
    return tl.load(gates + place, mask=p < area, other=0.0).to(tl.float32)


@triton.jit(do_not_specialize=SIZES)
def mean_kernel(
    total, gates, mean, out, channels, area, width, gates_n, gates_l, gates_h, gates_w, level, scale,
    CHANNELS: tl.constexpr, POSITIONS: tl.constexpr, LAST: tl.constexpr, VECTOR: tl.constexpr,
):  # fmt: skip
    """Add the gated mean to the sum of a tile's levels, and write it in the layout of the output."""
    channels, image = channels // 8 * 8, tl.program_id(2).to(tl.int64)
    c = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    p = tl.program_id(0) * POSITIONS + tl.arange(0, POSITIONS)
    gate = _gate_of(gates, image, level, p, area, width, gates_n, gates_l, gates_h, gates_w)
    m = tl.load(mean + (image * channels + c), mask=c < channels, other=0.0)
    inside = (p < area)[:, None] & (c < channels)[None, :]
    start = image * area * channels
    had = tl.load(total + start + (p[:, None] * channels + c[None, :]), mask=inside, other=0.0).to(tl.float32)
    had += (gate * scale)[:, None] * (m * cumulative(m))[None, :]
    if LAST:
        tl.store(out + start + (p[:, None] * channels + c[None, :]), had.to(out.dtype.element_ty), mask=inside)
    else:
        if VECTOR:
            area = area // 16 * 16
        tl.store(out + start + (p[:, None] + c[None, :] * area), had.to(out.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=SIZES + BACKWARD)
def mean_backward_kernel(
    grad, gates, mean, d_sums, d_gates,
    channels, area, width, gates_n, gates_l, gates_h, gates_w, level, levels, images, scale,
    CHANNELS: tl.constexpr, POSITIONS: tl.constexpr,
):  # fmt: skip
    """Sum the gradient of the activated mean [N, shares, C] over a share of the positions; write the gate's share."""
    channels, image, block = channels // 8 * 8, tl.program_id(2).to(tl.int64), tl.program_id(1)
    c = block * CHANNELS + tl.arange(0, CHANNELS)
    m = tl.load(mean + (image * channels + c), mask=c < channels, other=0.0)
    active = m * cumulative(m)
    d_gates += ((block * images + image) * levels + level) * area
    of_channels = tl.zeros([CHANNELS], tl.float32)
    for tile in range(tl.program_id(0), tl.cdiv(area, POSITIONS), tl.num_programs(0)):
        p = tile * POSITIONS + tl.arange(0, POSITIONS)
        gate = _gate_of(gates, image, level, p, area, width, gates_n, gates_l, gates_h, gates_w)
        place = image * area * channels + (p[:, None] * channels + c[None, :])
        g = tl.load(grad + place, mask=(p < area)[:, None] & (c < channels)[None, :], other=0.0).to(tl.float32) * scale
        of_channels += tl.sum(g * gate[:, None], 0)
        tl.store(d_gates + p, tl.sum(g * active[None, :], 1), mask=p < area)
    place = (image * tl.num_programs(0) + tl.program_id(0)) * channels + c
    tl.store(d_sums + place, of_channels, mask=c < channels)


def _configured(dtype: torch.dtype, last: bool, vector: bool, backward: bool) -> Configuration:
    words = ("mean", "backward" if backward else "forward", str(dtype).removeprefix("torch."))
    own = {} if backward else {"LAST": last, "VECTOR": vector}
    return Configuration(
        name=" ".join([*words, *([] if last else ["contiguous"]), *["divisible"] * (vector and not last)]),
        kernel=mean_backward_kernel if backward else mean_kernel,
        types={
            **dict.fromkeys(("grad", "gates") if backward else ("total", "gates", "out"), POINTERS[dtype]),
            **dict.fromkeys(("mean", "d_sums", "d_gates") if backward else ("mean",), "*fp32"),
            **dict.fromkeys(SIZES + (BACKWARD if backward else []), "i32"),
            "scale": "fp32",
        },
        constants={"CHANNELS": CHANNELS, "POSITIONS": POSITIONS, **own},
        limits=STREAMING,
        vector_bits=128 if vector else 0,
    )


TABLE = {
    (dtype, last, vector, backward): _configured(dtype, last, vector, backward)
    for dtype in POINTERS
    for last, vector, backward in ((True, True, False), (False, True, False), (False, False, False), (True, True, True))
}
CONFIGURATIONS = tuple(TABLE.values())


def add_mean(total: Tensor, gates: Tensor, mean: Tensor, out: Tensor, scale: float) -> None:
    """Write to `out`, in its layout, the sum of levels [N, H, W, C] and the activated mean [N, C] by the last gate."""
    images, channels, height, width = out.shape
    area, last = height * width, is_last(out)
    chosen = TABLE[out.dtype, last, last or area % 16 == 0, False]
    grid = (triton.cdiv(area, POSITIONS), triton.cdiv(channels, CHANNELS), images)
    sizes = (channels, area, width, *gates.stride(), gates.shape[1] - 1)
    chosen.launch(grid, total, gates, mean, out, *sizes, scale)


def mean_backward(grad: Tensor, gates: Tensor, mean: Tensor, d_gates: Tensor, scale: float) -> Tensor:
    """Return the gradient of each position of the last level through its mean [N, C], and write that of the last gate.

    `grad` is [N, H, W, C], `d_gates` [blocks of channels, N, L, H, W] in float32.
    """
    images, height, width, channels = grad.shape
    area, chosen = height * width, TABLE[grad.dtype, True, True, True]
    blocks, tiles = len(d_gates), triton.cdiv(area, POSITIONS)
    shares = min(tiles, triton.cdiv(PROGRAMS, blocks * images))
    sums = torch.empty(images, shares, channels, dtype=torch.float32, device=grad.device)
    levels = gates.shape[1]
    sizes = (channels, area, width, *gates.stride(), levels - 1, levels, images)
    chosen.launch((shares, blocks, images), grad, gates, mean, sums, d_gates, *sizes, scale)
    return torch.ops.aten.gelu_backward(sums.sum(1), mean) / area
