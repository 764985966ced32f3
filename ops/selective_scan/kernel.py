"""The selective scan's forward pass in Triton, along a sequence or along four routes through a map.

A program scans a block of channels of one image from the first position to the last. Along routes it does so four times
and computes where each position lies, so that maps are neither copied in the routes' order nor back; the sum stands in
the output. For training it writes the states before some positions, from which the backward pass computes the others.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from ops.kernel import POINTERS, REGISTER_TILED, STREAMING, Configuration, Movement, aligned
from ops.selective_scan.kernel_tiles import (
    LOG2_E,
    add,
    entered,
    fours,
    get,
    give,
    put,
    sigmoid,
    step_sizes,
    take,
    tile_at,
    told,
)
from ops.selective_scan.registered import UNIT, code, laid, outputs, room, save, unit, whole

SIZES = [
    "channels", "width", "length", "map_width", "code", "blocks", "through_softplus", "gated", "save",
    "u_image", "u_row", "delta_image", "delta_route", "delta_row", "z_image", "z_row", "out_image", "out_row",
    "b_image", "b_group", "b_state", "b_step", "c_image", "c_group", "c_state", "c_step",
]  # fmt: skip


@triton.jit
def _gated(ys, zs, STEPS: tl.constexpr):
    out = ()
    for i in tl.static_range(STEPS):
        out = out + (ys[i] * (zs[i] * sigmoid(zs[i])),)
    return out


@triton.jit
def _scanned(
    h, rate, us, ds, through, tile, b, b_state, b_step, c, c_state, c_step,
    COUNT: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    """Take the states through a tile; returns them and the outputs, skip included."""
    ys = ()
    for i in tl.static_range(STEPS):
        bs = told(b, b_state, tile[0][i] * b_step, COUNT)
        cs = told(c, c_state, tile[0][i] * c_step, COUNT)
        h = entered(h, rate, ds[i], us[i], bs, COUNT)
        y = through * us[i]
        for n in tl.static_range(COUNT):
            y += h[n] * cs[n]
        ys = ys + (y,)
    return h, ys


@triton.jit(do_not_specialize=SIZES)
def forward_kernel(
    u, delta, rates, b, c, skip, bias, z, out, last, starts, channels, width, length, map_width, code, blocks,
    through_softplus, gated, save, u_image, u_row, delta_image, delta_route, delta_row, z_image, z_row, out_image,
    out_row, b_image, b_group, b_state, b_step, c_image, c_group, c_state, c_step,
    COUNT: tl.constexpr, BLOCK: tl.constexpr, STEPS: tl.constexpr, UNIT: tl.constexpr, ROUTES: tl.constexpr,
    VECTOR: tl.constexpr,
):  # fmt: skip
    """Scan one block of channels of one group and image; `save` is the length of a chunk, 0 if no states are kept."""
    image, group = tl.program_id(1).to(tl.int64), tl.program_id(0) // blocks
    if VECTOR:
        width, channels, u_row, delta_row, out_row = fours((width, channels, u_row, delta_row, out_row), 5)
        u_image, delta_image, delta_route, out_image = fours((u_image, delta_image, delta_route, out_image), 4)
        z_image, z_row = fours((z_image, z_row), 2)
    own = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    lane, mine = group * width + own, own < width
    b_state, c_state = (1, 1) if ROUTES > 1 else (b_state, c_state)
    scale: tl.constexpr = UNIT if UNIT > 0 else 1
    length *= scale
    span = (tl.where(save > 0, save, length) + 3) // 4 * 4
    for route in range(ROUTES):
        of, at = route * channels, route * (channels // width) + group
        d_at = delta + (image * delta_image + route * delta_route) * scale
        b_at, c_at = b + image * b_image + at * b_group, c + image * c_image + at * c_group
        plain, h = get(rates + route * COUNT * channels, channels, lane, mine, COUNT), ()
        rate = ()
        for n in tl.static_range(COUNT):
            rate, h = rate + (plain[n] * LOG2_E,), h + (tl.zeros((BLOCK,), tl.float32),)
        through = tl.load(skip + of + lane, mask=mine, other=0.0)
        added = tl.load(bias + of + lane, mask=mine, other=0.0)
        chunks = tl.cdiv(length, span)
        for chunk in range(chunks):
            kept = ((image * (chunks - 1) + chunk - 1) * ROUTES + route) * COUNT * channels
            put(starts + kept, channels, lane, mine & (save > 0) & (chunk > 0), h, COUNT)
            for t in range(chunk * span, tl.minimum(length, (chunk + 1) * span), STEPS):
                tile = tile_at(t, length, map_width, code >> (route * 3), lane, mine, STEPS, ROUTES)
                us = take(u + image * u_image * scale, u_row, tile, BLOCK, STEPS, UNIT)
                raw = take(d_at, delta_row, tile, BLOCK, STEPS, UNIT)
                ds = step_sizes(raw, added, tile[1], through_softplus, STEPS)
                h, ys = _scanned(
                    h, rate, us, ds, through, tile, b_at, b_state, b_step, c_at, c_state, c_step, COUNT, STEPS
                )
                if ROUTES > 1:
                    add(out + image * out_image * scale, out_row, tile, ys, route, BLOCK, STEPS, UNIT)
                else:
                    if gated != 0:
                        ys = _gated(ys, take(z + image * z_image * scale, z_row, tile, BLOCK, STEPS, UNIT), STEPS)
                    give(out + image * out_image * scale, out_row, tile, ys, BLOCK, STEPS, UNIT)
        put(last + (image * ROUTES + route) * COUNT * channels, channels, lane, mine, h, COUNT)
        if ROUTES > 1:
            tl.debug_barrier()  # another thread may have stored what this one will add to


TILES = {
    ("wide", 1): (256, 2, 4),
    ("channels", 1): (64, 2, 4),
    ("channels", 4): (128, 4, 4),
    ("channels", 16): (128, 4, 2),
    ("positions", 1): (64, 2, 4),
    ("positions", 4): (128, 4, 4),
    ("positions", 16): (128, 4, 4),
}
"""Channels, warps and positions of a tile, by what lies side by side and by the number of states. A thread of `wide`
has four channels, which it loads together; with more states it has one, and its states and what they are told at a few
positions fill its registers."""
LAYOUTS = ("wide", "channels", "positions", "wide routes", "channels routes")


def _configured(dtype: torch.dtype, layout: str, count: int) -> Configuration:
    routed, limits = layout.endswith("routes"), REGISTER_TILED if count > 4 else STREAMING
    block, warps, at_once = TILES[layout.split()[0], count]
    at_once = at_once // 2 if routed and (count > 4 or block > 128) else at_once  # addresses take registers, too
    maps, singles = ("u", "delta", "b", "c", "z"), ("rates", "skip", "bias", "last", "starts")
    return Configuration(
        name=f"forward {str(dtype).removeprefix('torch.')} {layout} {count}",
        kernel=forward_kernel,
        types={
            **dict.fromkeys(maps, POINTERS[dtype]),
            **dict.fromkeys(singles, "*fp32"),
            "out": "*fp32" if routed else POINTERS[dtype],
            **dict.fromkeys(SIZES, "i32"),
        },
        constants={
            "COUNT": count, "BLOCK": block, "STEPS": at_once, "UNIT": UNIT if layout == "positions" else 0,
            "ROUTES": 4 if routed else 1, "VECTOR": layout.startswith("wide"),
        },
        limits=limits,
        num_warps=warps,
        wavefronts=warps // 2 if count == 1 else 0,  # as many numbers in a thread
        registers=128 if layout.startswith("wide") or (routed and count > 4) else None,  # else a few bytes are spilled
        vector_bits=vector_bits(dtype, layout, count),
    )  # fmt: skip


def vector_bits(dtype: torch.dtype, layout: str, count: int) -> int:
    """Return the width of most loads, 0 where half or more of the bytes are numbers that all channels share.

    Maps come in four numbers at a time wherever a thread has four that lie side by side.
    """
    wide = layout.startswith("wide") or (layout == "positions" and dtype == torch.float32)
    return UNIT * 8 * dtype.itemsize if count == 1 and wide else 0


TABLE = {
    (dtype, layout, count): _configured(dtype, layout, count)
    for dtype in POINTERS
    for layout in LAYOUTS
    for kind, count in TILES
    if layout.split()[0] == kind
}
CONFIGURATIONS = tuple(TABLE.values())


def configuration(dtype: torch.dtype, states: int, *, side_by_side: int, routed: bool, fours: bool) -> Configuration:
    """Return how a scan is computed; `fours`: whether all numbers of channels and distances are divisible by 4."""
    kind = "positions" if side_by_side else "wide" if states == 1 and fours else "channels"
    return TABLE[dtype, f"{kind} routes" if routed else kind, states]


def ready(x: Tensor, side_by_side: int, *, dense: bool = False) -> Tensor:
    """Return the tensor in that layout, at an address divisible by 16, without gaps if asked."""
    x = laid(x, side_by_side)
    fresh = room(x, side_by_side) if x.data_ptr() % 16 or dense else x
    return x if fresh is x or (not x.data_ptr() % 16 and fresh.stride() == x.stride()) else fresh.copy_(x)


def strides(x: Tensor, side_by_side: int) -> tuple[int, ...]:
    """Return the distances of images, of routes if there are, and of rows, in units."""
    front = x.stride()[:-2]
    row = x.stride(-2) if side_by_side else x.stride(-1)
    return tuple(stride // max(side_by_side, 1) for stride in (*front, row))


def padded(A: Tensor, B: Tensor, C: Tensor, routes: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return the three with states added that nothing enters and nothing is read from, up to a number with a kernel.

    Along routes B and C have the states of a position side by side, as a projection of a channels_last map has them.
    """
    if routes:
        B, C = (x if x.stride(2) == 1 else x.transpose(2, 3).contiguous().transpose(2, 3) for x in (B, C))
    more = whole(A.shape[1]) - A.shape[1]
    if not more:
        return A, aligned(B), aligned(C)
    B, C = (F.pad(x.transpose(2, 3), (0, more)).transpose(2, 3) for x in (B, C))
    return F.pad(A, (0, more)), B, C


def numbers(A: Tensor, D: Tensor | None, delta_bias: Tensor | None, routes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return rates [K, N, C], skip and bias in float32; zeros for what there is not."""
    rates = A.float().unflatten(0, (routes, -1)).transpose(1, 2).contiguous()
    none = torch.zeros(len(A), dtype=torch.float32, device=A.device)
    skip, bias = (none if each is None else aligned(each.float().contiguous()) for each in (D, delta_bias))
    return rates, skip, bias


def forward(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, delta_bias: Tensor | None,
    z: Tensor | None, delta_softplus: bool, routes: str, map_width: int, trains: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Return output, last state and what is kept for training; see `ops.selective_scan.registered`."""
    side = unit(u, routes)
    out, last, starts = outputs(u, delta, A, routes, trains)
    u, delta = ready(u, side), ready(delta, side)
    gate = u if z is None else ready(z, side)
    A, B, C = padded(A, B, C, routes)
    (batch, channels, length), count, states = u.shape, delta.shape[1], A.shape[1]
    width = channels * count // B.shape[1]
    distances = [*strides(u, side), *strides(delta, side), *strides(gate, side), *strides(out, side)]
    fours = all(size % 4 == 0 for size in (width, *distances))
    chosen = configuration(u.dtype, states, side_by_side=side, routed=bool(routes), fours=fours)
    blocks = triton.cdiv(width, chosen.constants["BLOCK"])
    sizes = (
        channels, width, length // max(side, 1), map_width, code(routes), blocks, int(delta_softplus),
        int(z is not None), save(states) if trains else 0,
    )  # fmt: skip
    rates, skip, bias = numbers(A, D, delta_bias, count)
    chosen.launch(
        (blocks * channels // width, batch), u, delta, rates, B, C, skip, bias, gate, out, last,
        starts if starts.numel() else last, *sizes, *distances, *B.stride(), *C.stride(),
    )  # fmt: skip
    return out, last, starts


def _moved(dtype: torch.dtype, states: int, layout: str, length: int, guarded: Callable[[Tensor], Tensor]) -> int:
    """Launch a forward pass for training and return its least bytes: inputs, output and last state once."""
    inputs = example(dtype, states, layout, length)
    found = forward(*map(guarded, inputs), None, True, "cross" if layout == "routes" else "", 8, True)
    return sum(x.numel() * x.element_size() for x in (*inputs, *found[:2]))


def example(dtype: torch.dtype, states: int, layout: str, length: int) -> list[Tensor]:
    """Return u, delta, A, B, C, D and delta_bias whose bytes are counted: two blocks of channels of one group."""
    routes, channels = 4 if layout == "routes" else 1, 128
    maps = [torch.randn(1, channels, length), torch.randn(1, routes, channels, length) - 3]
    if layout != "positions":
        maps = [x.transpose(-1, -2).contiguous().transpose(-1, -2) for x in maps]
    told = [torch.randn(1, routes, length, states).transpose(2, 3) for _ in range(2)]
    u, delta, b, c = (x.to(dtype) for x in (*maps, *told))
    return [u, delta, -torch.rand(routes * channels, states), b, c, *torch.rand(2, routes * channels).unbind()]


CASES = (
    (torch.float32, 1, "channels", 64),
    *((torch.bfloat16, 1, layout, 64) for layout in ("channels", "positions")),
    (torch.bfloat16, 1, "routes", 32),
    (torch.bfloat16, 16, "channels", 196),
)
"""Dtype, states, layout and length of what is counted: in bf16, beside whose maps the states in float32 weigh most."""


def named(way: str, dtype: torch.dtype, states: int, layout: str, length: int) -> str:
    """Return the name of a pass."""
    return f"{way} {str(dtype).removeprefix('torch.')} {layout}, N {states}, L {length}"


MOVEMENTS = tuple(
    Movement(
        named("forward", *case),
        partial(_moved, *case),
        1.1,
        # along routes maps are asked for four times, and so is the sum that a position has so far: as rows and columns
        # reach a position at different times, nothing but memory or a cache holds it meanwhile
        "per_program" if case[2] == "routes" else "requested",
    )
    for case in CASES
)
