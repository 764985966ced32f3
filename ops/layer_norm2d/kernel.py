"""Layer normalisation over channels in Triton: the map is read once and written once.

A program holds all channels of some positions in registers, whatever the strides: positions lie side by side in a
contiguous map, channels in channels_last. The backward pass recomputes the normalised map from the kept mean and
reciprocal deviation; each of its programs sums its share of the weights' gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import triton
import triton.language as tl
from torch import Tensor

from ops.kernel import POINTERS, STREAMING, Configuration, Movement, aligned
from ops.layout import is_last, laid, like

TILES = {
    (False, True): {128: (32, 4), 512: (16, 8), 2048: (8, 16)},
    (False, False): {128: (32, 8), 512: (16, 16), 2048: (4, 16)},
    (True, True): {128: (32, 8), 512: (16, 16), 2048: (4, 16)},
    (True, False): {128: (32, 16), 512: (8, 16), 2048: (2, 16)},
}
"""Positions of a program and its warps, by the number of channels up to which they serve. In the forward pass (False) a
thread has 32 numbers, so that enough bytes are in flight where three quarters of the channels do not exist; in the
backward pass, which holds two maps, and where numbers are loaded one by one (second False) half of that each."""
WIDTHS = tuple(TILES[False, True])
PROGRAMS = 512
"""Most programs of a backward pass: each writes sums of its own."""
SIZES = ["width", "area", "positions"]


@triton.jit
def _places(tile, width, area, positions, CHANNELS: tl.constexpr, POSITIONS: tl.constexpr, LAST: tl.constexpr,
            VECTOR: tl.constexpr):  # fmt: skip
    """Return channels, positions, which of them exist, and where they lie in memory."""
    c = tl.arange(0, CHANNELS)
    p = tile * POSITIONS + tl.arange(0, POSITIONS)
    if LAST:
        if VECTOR:
            width = width // 16 * 16
        where = (p * width)[None, :] + c[:, None]
    else:
        if VECTOR:
            area, positions = area // 16 * 16, positions // 16 * 16
        where = (p // area * area * width + p % area)[None, :] + c[:, None] * area
    return c, p, (c < width)[:, None] & (p < positions)[None, :], where


@triton.jit(do_not_specialize=SIZES)
def forward_kernel(
    x, weight, bias, y, mean, scale, width, area, positions, eps,
    CHANNELS: tl.constexpr, POSITIONS: tl.constexpr, LAST: tl.constexpr, VECTOR: tl.constexpr,
):  # fmt: skip
    """Normalise one tile of [channels, positions]."""
    c, p, inside, where = _places(tl.program_id(0), width, area, positions, CHANNELS, POSITIONS, LAST, VECTOR)
    values = tl.load(x + where, mask=inside, other=0.0).to(tl.float32)
    mu = tl.sum(values, 0) / width
    apart = tl.where(inside, values - mu[None, :], 0.0)
    r = 1 / tl.sqrt_rn(tl.sum(apart * apart, 0) / width + eps)
    w = tl.load(weight + c, mask=c < width, other=0.0)
    b = tl.load(bias + c, mask=c < width, other=0.0)
    out = apart * r[None, :] * w[:, None] + b[:, None]
    tl.store(y + where, out.to(y.dtype.element_ty), mask=inside)
    tl.store(mean + p, mu, mask=p < positions)
    tl.store(scale + p, r, mask=p < positions)


@triton.jit(do_not_specialize=SIZES)
def backward_kernel(
    grad, x, weight, mean, scale, d_x, d_weight, d_bias, width, area, positions,
    CHANNELS: tl.constexpr, POSITIONS: tl.constexpr, LAST: tl.constexpr, VECTOR: tl.constexpr,
):  # fmt: skip
    """Go over every n-th tile, n being the number of programs, and write the sums of the weights' gradients."""
    channels = tl.arange(0, CHANNELS)
    w = tl.load(weight + channels, mask=channels < width, other=0.0)
    of_weight, of_bias = tl.zeros([CHANNELS], tl.float32), tl.zeros([CHANNELS], tl.float32)
    for tile in range(tl.program_id(0), tl.cdiv(positions, POSITIONS), tl.num_programs(0)):
        _, p, inside, where = _places(tile, width, area, positions, CHANNELS, POSITIONS, LAST, VECTOR)
        mu = tl.load(mean + p, mask=p < positions, other=0.0)
        r = tl.load(scale + p, mask=p < positions, other=0.0)
        g = tl.load(grad + where, mask=inside, other=0.0).to(tl.float32)
        values = tl.load(x + where, mask=inside, other=0.0).to(tl.float32)
        normal = tl.where(inside, (values - mu[None, :]) * r[None, :], 0.0)
        of_weight += tl.sum(g * normal, 1)
        of_bias += tl.sum(g, 1)
        g *= w[:, None]
        out = r[None, :] * (g - tl.sum(g, 0)[None, :] / width - normal * (tl.sum(g * normal, 0) / width)[None, :])
        tl.store(d_x + where, out.to(d_x.dtype.element_ty), mask=inside)
    place = tl.program_id(0) * width + channels
    tl.store(d_weight + place, of_weight, mask=channels < width)
    tl.store(d_bias + place, of_bias, mask=channels < width)


def _configured(dtype: torch.dtype, channels: int, last: bool, vector: bool, backward: bool) -> Configuration:
    positions, warps = TILES[backward, vector][channels]
    if last and positions < 4:
        positions = 1  # a position is as good as two side by side, and takes fewer registers
    maps = ("grad", "x", "d_x") if backward else ("x", "y")
    numbers = ("weight", "mean", "scale", *(("d_weight", "d_bias") if backward else ("bias",)))
    words = ("backward" if backward else "forward", str(dtype).removeprefix("torch."), f"{channels}x{positions}")
    return Configuration(
        name=" ".join([*words, "channels_last" if last else "contiguous", *["divisible"] * vector]),
        kernel=backward_kernel if backward else forward_kernel,
        types={
            **dict.fromkeys(maps, POINTERS[dtype]),
            **dict.fromkeys(numbers, "*fp32"),
            **dict.fromkeys(SIZES, "i32"),
            **({} if backward else {"eps": "fp32"}),
        },
        constants={"CHANNELS": channels, "POSITIONS": positions, "LAST": last, "VECTOR": vector},
        limits=STREAMING,
        num_warps=warps,
        vector_bits=_vector_bits(dtype, positions, last) if vector else 0,
    )


def _vector_bits(dtype: torch.dtype, positions: int, last: bool) -> int:
    """Return the width of loads: of channels, or of as many positions as lie side by side."""
    return 128 if last else min(128, 8 * dtype.itemsize * positions)


TABLE = {
    (dtype, channels, last, vector, backward): _configured(dtype, channels, last, vector, backward)
    for dtype in POINTERS
    for channels in WIDTHS
    for last in (False, True)
    for vector in (False, True)
    for backward in (False, True)
}
CONFIGURATIONS = tuple(TABLE.values())


def configuration(x: Tensor, *, backward: bool) -> Configuration:
    """Return how a map that is contiguous or in channels_last is normalised."""
    width, last = x.shape[1], is_last(x)
    side_by_side = width if last else x.shape[2] * x.shape[3]
    channels = next(channels for channels in WIDTHS if width <= channels)
    return TABLE[x.dtype, channels, last, side_by_side % 16 == 0, backward]


def forward(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the normalised map, and mean and reciprocal deviation of each position in float32."""
    x, weight = aligned(laid(x)), aligned(weight.float().contiguous())
    bias = torch.zeros_like(weight) if bias is None else aligned(bias.float().contiguous())
    area, chosen = x.shape[2] * x.shape[3], configuration(x, backward=False)
    positions = len(x) * area
    y = like(x)
    mean, scale = (torch.empty(positions, dtype=torch.float32, device=x.device) for _ in range(2))
    grid = (triton.cdiv(positions, chosen.constants["POSITIONS"]),)
    chosen.launch(grid, x, weight, bias, y, mean, scale, x.shape[1], area, positions, eps)
    return y, mean, scale


def backward(grad: Tensor, x: Tensor, weight: Tensor, mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of map, weight and bias, the last two in float32."""
    x = aligned(laid(x))
    grad = aligned(laid(grad, x))
    area, chosen = x.shape[2] * x.shape[3], configuration(x, backward=True)
    positions = len(x) * area
    programs = min(PROGRAMS, triton.cdiv(positions, chosen.constants["POSITIONS"]))
    d_x = like(x)
    d_weight, d_bias = (torch.empty(programs, x.shape[1], dtype=torch.float32, device=x.device) for _ in range(2))
    sizes = (x.shape[1], area, positions)
    chosen.launch(
        (programs,), grad, x, aligned(weight.float().contiguous()), mean, scale, d_x, d_weight, d_bias, *sizes
    )
    return d_x, d_weight.sum(0), d_bias.sum(0)


def _moved(dtype: torch.dtype, layout: torch.memory_format, guarded: Callable[[Tensor], Tensor], *, back: bool) -> int:
    x = guarded(torch.randn(2, 128, 16, 16).to(dtype, memory_format=layout))
    numbers = [guarded(torch.rand(size)) for size in (128, 128, 512, 512)]
    if back:
        backward(guarded(torch.randn_like(x)), x, numbers[0], *numbers[2:])
    else:
        forward(x, *numbers[:2], 1e-6)
    return (3 if back else 2) * x.numel() * x.element_size()


MOVEMENTS = tuple(
    Movement(f"{name} {str(dtype).removeprefix('torch.')} {layout}", partial(_moved, dtype, kind, back=back), most)
    for name, back, most in (("forward", False, 1.1), ("backward", True, 1.6))
    for dtype in (torch.float32, torch.bfloat16)
    for layout, kind in (("contiguous", torch.contiguous_format), ("channels_last", torch.channels_last))
)
