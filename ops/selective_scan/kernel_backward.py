"""The selective scan's backward pass in Triton, chunk by chunk from the last position to the first.

Of each chunk the states are computed again from those that the forward pass kept, a few positions at a time: first the
states before each tile go to a scratch, then tiles are taken in reverse with all their states in registers. With many
states the forward pass keeps them before every second chunk alone: there they are many beside the maps. States are
taken COUNT at a time; between tiles their gradients and those of the rates stand in memory, which holds any number of
them. B and C are shared by all channels of a group: their gradients are summed over a block, and by the caller over
blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import triton
import triton.language as tl
from torch import Tensor

from ops.kernel import POINTERS, REGISTER_TILED, Configuration, Movement
from ops.selective_scan.kernel import CASES, SIZES, example, named, numbers, padded, ready, strides
from ops.selective_scan.kernel_states import (
    back_through,
    read_out,
    scaled,
    skipped,
    states_through,
    told_from,
    ungated,
    zeros,
)
from ops.selective_scan.kernel_tiles import add, get, give, put, step_sizes, take, tile_at
from ops.selective_scan.registered import UNIT, Gradients, code, outputs, room, save, unit


@triton.jit
def _lay_starts(
    kept, scratch, before, subs, t, u, u_row, delta, delta_row, added, through_softplus, rates, b, b_state, b_step,
    channels, states, length, map_width, turn, lane, mine,
    COUNT: tl.constexpr, BLOCK: tl.constexpr, STEPS: tl.constexpr, UNIT: tl.constexpr, ROUTES: tl.constexpr,
):  # fmt: skip
    """Write the states before each tile of a chunk to the scratch [tile][state][BLOCK].

    The states that were kept are those before `before` tiles more, which the first states of the scratch go through.
    """
    for first in range(0, states, COUNT):
        h = get(kept + first * channels, channels, lane, mine & (t > before * STEPS), COUNT)
        put(scratch + first * BLOCK, BLOCK, tl.arange(0, BLOCK), mine, h, COUNT)
    for sub in range(-before, subs - 1):
        tile = tile_at(t + sub * STEPS, length, map_width, turn, lane, mine, STEPS, ROUTES)
        us = take(u, u_row, tile, BLOCK, STEPS, UNIT)
        ds = step_sizes(take(delta, delta_row, tile, BLOCK, STEPS, UNIT), added, tile[1], through_softplus, STEPS)
        for first in range(0, states, COUNT):
            rate = scaled(get(rates + first * channels, channels, lane, mine, COUNT), COUNT)
            found = scratch + (tl.maximum(sub, 0) * states + first) * BLOCK
            h = get(found, BLOCK, tl.arange(0, BLOCK), mine, COUNT)
            past = states_through(h, rate, us, ds, tile, b, b_state, b_step, first, COUNT, STEPS)
            after = scratch + (tl.maximum(sub + 1, 0) * states + first) * BLOCK
            put(after, BLOCK, tl.arange(0, BLOCK), mine, past[STEPS], COUNT)
    tl.debug_barrier()


@triton.jit
def _states_back(
    g, d_rate, us, ds, dys, ys, starts, tile, rates, d_state, d_rates, b, b_state, b_step, c,
    c_state, c_step, d_told, channels, states, map_width, turn, gated, zs,
    COUNT: tl.constexpr, BLOCK: tl.constexpr, STEPS: tl.constexpr, ROUTES: tl.constexpr, MANY: tl.constexpr,
):  # fmt: skip
    """Take a tile in reverse, COUNT states at a time; a single state's gradients stay in registers."""
    lane, mine = tile[4], tile[5]
    of_product, of_step, of_z = zeros(BLOCK, STEPS), zeros(BLOCK, STEPS), dys
    if gated != 0:
        for first in range(0, states, COUNT):
            rate = scaled(get(rates + first * channels, channels, lane, mine, COUNT), COUNT)
            h = get(starts + first * BLOCK, BLOCK, tl.arange(0, BLOCK), mine, COUNT)
            past = states_through(h, rate, us, ds, tile, b, b_state, b_step, first, COUNT, STEPS)
            ys = read_out(ys, past, tile, c, c_state, c_step, first, COUNT, STEPS)
        dys, of_z = ungated(dys, ys, zs, STEPS)
    for first in range(0, states, COUNT):
        if MANY:
            g = get(d_state + first * channels, channels, lane, mine, COUNT)
            d_rate = get(d_rates + first * channels, channels, lane, mine, COUNT)
        rate = scaled(get(rates + first * channels, channels, lane, mine, COUNT), COUNT)
        h = get(starts + first * BLOCK, BLOCK, tl.arange(0, BLOCK), mine, COUNT)
        past = states_through(h, rate, us, ds, tile, b, b_state, b_step, first, COUNT, STEPS)
        g, d_rate, of_product, of_step = back_through(
            g, d_rate, rate, past, us, ds, dys, of_product, of_step, tile, b, b_state, b_step, c, c_state, c_step,
            d_told, first, map_width, turn, states * 2, COUNT, BLOCK, STEPS, ROUTES,
        )  # fmt: skip
        if MANY:
            put(d_state + first * channels, channels, lane, mine, g, COUNT)
            put(d_rates + first * channels, channels, lane, mine, d_rate, COUNT)
    return g, d_rate, of_product, of_step, dys, of_z


@triton.jit
def _route_back(
    d_out, u, delta, rates, b, c, skip, bias, z, starts, d_u, d_delta, d_z, d_told, d_state, d_rates, d_skip, d_bias,
    scratch, lane, mine, route, chunks, channels, states, length, map_width, turn, through_softplus, gated, save,
    u_row, delta_row, z_row, out_row, b_state, b_step, c_state, c_step, COUNT: tl.constexpr, BLOCK: tl.constexpr,
    STEPS: tl.constexpr, SUBS: tl.constexpr, UNIT: tl.constexpr, ROUTES: tl.constexpr, MANY: tl.constexpr,
):  # fmt: skip
    """Go back along one route; all pointers are those of its image, route and group."""
    through, added = tl.load(skip + lane, mask=mine, other=0.0), tl.load(bias + lane, mask=mine, other=0.0)
    of_skip, of_bias = tl.zeros((BLOCK,), tl.float32), tl.zeros((BLOCK,), tl.float32)
    g, d_rate = get(d_state, channels, lane, mine, COUNT), get(d_rates, channels, lane, mine, COUNT)
    for turned in range(chunks):
        begin = (chunks - 1 - turned) * SUBS * STEPS
        subs = tl.minimum(SUBS, tl.cdiv(length - begin, STEPS))
        kept = starts + (begin // save - 1).to(tl.int64) * ROUTES * states * channels
        _lay_starts(
            kept, scratch, begin % save // STEPS, subs, begin, u, u_row, delta, delta_row, added, through_softplus,
            rates, b, b_state, b_step, channels, states, length, map_width, turn, lane, mine,
            COUNT, BLOCK, STEPS, UNIT, ROUTES,
        )  # fmt: skip
        for other in range(subs):
            sub = subs - 1 - other
            tile = tile_at(begin + sub * STEPS, length, map_width, turn, lane, mine, STEPS, ROUTES)
            us, raw = take(u, u_row, tile, BLOCK, STEPS, UNIT), take(delta, delta_row, tile, BLOCK, STEPS, UNIT)
            dys, ys = take(d_out, out_row, tile, BLOCK, STEPS, UNIT), zeros(BLOCK, STEPS)
            ds = step_sizes(raw, added, tile[1], through_softplus, STEPS)
            zs = us
            if ROUTES == 1:
                seen = tile[0], tile[1], tile[2], tile[3], lane, mine & (gated != 0)
                zs, ys = take(z, z_row, seen, BLOCK, STEPS, UNIT), skipped(us, through, STEPS)
            g, d_rate, of_product, of_step, dys, of_z = _states_back(
                g, d_rate, us, ds, dys, ys, scratch + sub * states * BLOCK, tile, rates, d_state, d_rates,
                b, b_state, b_step, c, c_state, c_step, d_told,
                channels, states, map_width, turn, gated if ROUTES == 1 else 0, zs, COUNT, BLOCK, STEPS, ROUTES, MANY,
            )  # fmt: skip
            of_u, of_delta, more_bias, more_skip = told_from(
                of_product, of_step, us, ds, dys, raw, added, through, tile[1], through_softplus, STEPS
            )
            of_bias, of_skip = of_bias + more_bias, of_skip + more_skip
            give(d_delta, delta_row, tile, of_delta, BLOCK, STEPS, UNIT)
            if ROUTES > 1:
                add(d_u, u_row, tile, of_u, route, BLOCK, STEPS, UNIT)
            else:
                give(d_u, u_row, tile, of_u, BLOCK, STEPS, UNIT)
                if gated != 0:
                    give(d_z, z_row, tile, of_z, BLOCK, STEPS, UNIT)
        tl.debug_barrier()
    if not MANY:
        put(d_rates, channels, lane, mine, d_rate, COUNT)
    tl.store(d_skip + lane, of_skip, mask=mine)
    tl.store(d_bias + lane, of_bias, mask=mine)


@triton.jit(do_not_specialize=["states", *SIZES])
def backward_kernel(
    d_out, u, delta, rates, b, c, skip, bias, z, starts, d_u, d_delta, d_z, d_told, d_state, d_rates, d_skip, d_bias,
    scratch, states, channels, width, length, map_width, code, blocks, through_softplus, gated, save,
    u_image, u_row, delta_image, delta_route, delta_row, z_image, z_row, out_image, out_row,
    b_image, b_group, b_state, b_step, c_image, c_group, c_state, c_step,
    COUNT: tl.constexpr, BLOCK: tl.constexpr, STEPS: tl.constexpr, SUBS: tl.constexpr, UNIT: tl.constexpr,
    ROUTES: tl.constexpr, MANY: tl.constexpr,
):  # fmt: skip
    """Return over one block of channels of one group and image; d_state begins as the gradient of the last state."""
    image, group = tl.program_id(1).to(tl.int64), tl.program_id(0) // blocks
    block = tl.program_id(0) % blocks
    own = block * BLOCK + tl.arange(0, BLOCK)
    lane, mine = group * width + own, own < width
    b_state, c_state = (1, 1) if ROUTES > 1 else (b_state, c_state)
    scale: tl.constexpr = UNIT if UNIT > 0 else 1
    length *= scale
    save = save // 4 * 4
    chunks, kept = tl.cdiv(length, SUBS * STEPS), tl.cdiv(length, save) - 1
    groups = channels // width
    room = scratch + (image * tl.num_programs(0) + tl.program_id(0)) * SUBS * states * BLOCK
    for route in range(ROUTES):
        of, at, row = route * channels, route * groups + group, (image * ROUTES + route) * channels
        d_at = (image * delta_image + route * delta_route) * scale
        s_at = (image * ROUTES + route) * states * channels
        _route_back(
            d_out + image * out_image * scale, u + image * u_image * scale, delta + d_at,
            rates + route * states * channels, b + image * b_image + at * b_group,
            c + image * c_image + at * c_group, skip + of, bias + of, z + image * z_image * scale,
            starts + (image * kept * ROUTES + route) * states * channels, d_u + image * u_image * scale,
            d_delta + d_at, d_z + image * z_image * scale,
            d_told + (((image * ROUTES + route) * groups + group) * blocks + block) * length * states * 2,
            d_state + s_at, d_rates + s_at, d_skip + row, d_bias + row,
            room, lane, mine, route, chunks, channels, states, length, map_width, code >> (route * 3),
            through_softplus, gated, save, u_row, delta_row, z_row, out_row, b_state, b_step, c_state, c_step,
            COUNT, BLOCK, STEPS, SUBS, UNIT, ROUTES, MANY,
        )  # fmt: skip
        if ROUTES > 1:
            tl.debug_barrier()  # another thread may have stored what this one will add to


BLOCKS = {False: (64, 2), True: (128, 4)}
"""Channels and warps, by whether there are many states or one; more share what is loaded of B and C. A thread has one
channel and no other thread has it: states go through the scratch without a barrier."""
CHUNKS = {False: 16, True: 64}
"""Positions of a chunk, whose tiles' states go to the scratch."""
STEPS = {"channels": 4, "positions": 4, "routes": 2}
"""Positions whose states are in registers; along routes each has an address of its own, which takes registers too."""


def _configured(dtype: torch.dtype, layout: str, many: bool) -> Configuration:
    routed, side = layout == "routes", "positions" if layout == "positions" else "channels"
    block, warps = BLOCKS[many]
    maps = ("u", "delta", "b", "c", "z", "d_delta", "d_z")
    singles = (
        "rates", "skip", "bias", "starts", "d_told", "d_state", "d_rates", "d_skip", "d_bias", "scratch",
    )  # fmt: skip
    return Configuration(
        name=f"backward {str(dtype).removeprefix('torch.')} {layout} {'many' if many else 1}",
        kernel=backward_kernel,
        types={
            **dict.fromkeys(maps, POINTERS[dtype]),
            **dict.fromkeys(singles, "*fp32"),
            **dict.fromkeys(("d_out", "d_u"), "*fp32" if routed else POINTERS[dtype]),
            **dict.fromkeys(("states", *SIZES), "i32"),
        },
        constants={
            "COUNT": 1, "BLOCK": block, "STEPS": STEPS[layout], "SUBS": CHUNKS[many] // STEPS[layout],
            "UNIT": UNIT if side == "positions" else 0, "ROUTES": 4 if routed else 1, "MANY": many,
        },
        limits=REGISTER_TILED,
        num_warps=warps,
        wavefronts=warps // 2,  # a thread for each channel: what one reads again it has written itself
        registers=REGISTER_TILED.registers,
        vector_bits=0,  # maps come in wide loads where positions lie side by side, but B and C come number by number
    )  # fmt: skip


TABLE = {
    (dtype, layout, many): _configured(dtype, layout, many)
    for dtype in POINTERS
    for layout in ("channels", "positions", "routes")
    for many in (False, True)
}
CONFIGURATIONS = tuple(TABLE.values())


def configuration(dtype: torch.dtype, states: int, *, side_by_side: int, routed: bool) -> Configuration:
    """Return how gradients are computed."""
    layout = "routes" if routed else "positions" if side_by_side else "channels"
    return TABLE[dtype, layout, states > 1]


def backward(
    d_out: Tensor, d_last: Tensor, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
    delta_bias: Tensor | None, z: Tensor | None, starts: Tensor, delta_softplus: bool, routes: str, map_width: int,
) -> Gradients:  # fmt: skip
    """Return the gradients of all inputs; see `ops.selective_scan.registered`."""
    side, dtype = unit(u, routes), u.dtype
    u, delta, d_out = (ready(x, side, dense=True) for x in (u, delta, d_out))
    gate = u if z is None else ready(z, side, dense=True)
    shape, (A, B, C) = A.shape, padded(A, B, C, routes)
    (batch, channels, length), count, states = u.shape, delta.shape[1], A.shape[1]
    width = channels * count // B.shape[1]
    chosen = configuration(dtype, states, side_by_side=side, routed=bool(routes))
    block, subs = chosen.constants["BLOCK"], chosen.constants["SUBS"]
    blocks, groups = triton.cdiv(width, block), channels // width
    d_u, d_delta = room(u, side, torch.float32 if routes else dtype), room(delta, side)
    d_z = d_delta if z is None else room(gate, side)
    d_told = starts.new_empty(batch, count * groups, blocks, length, states, 2)
    d_state = d_last.float().clone(memory_format=torch.contiguous_format)
    d_rates = torch.zeros_like(d_state)
    d_skip, d_bias = (starts.new_empty(batch, count * channels) for _ in range(2))
    scratch = starts.new_empty(batch, groups * blocks, subs, states, block)
    rates, skip, bias = numbers(A, D, delta_bias, count)
    chosen.launch(
        (groups * blocks, batch), d_out, u, delta, rates, B, C, skip, bias, gate,
        starts if starts.numel() else d_state, d_u, d_delta, d_z, d_told,
        d_state, d_rates, d_skip, d_bias, scratch, states, channels, width, length // max(side, 1), map_width,
        code(routes), blocks, int(delta_softplus), int(z is not None), save(states), *strides(u, side),
        *strides(delta, side), *strides(gate, side), *strides(d_out, side), *B.stride(), *C.stride(),
    )  # fmt: skip
    d_b, d_c = d_told.sum(2)[..., : shape[1], :].permute(4, 0, 1, 3, 2).unbind()
    return (
        d_u.to(dtype), d_delta,
        A.new_empty(shape).copy_(d_rates.sum(0).transpose(1, 2)[..., : shape[1]].reshape(shape)),
        d_b.to(B.dtype, memory_format=torch.contiguous_format, copy=True),
        d_c.to(C.dtype, memory_format=torch.contiguous_format, copy=True),
        starts.new_empty(0) if D is None else d_skip.sum(0),
        starts.new_empty(0) if delta_bias is None else d_bias.sum(0), u.new_empty(0) if z is None else d_z,
    )  # fmt: skip


def _moved(dtype: torch.dtype, states: int, layout: str, length: int, guarded: Callable[[Tensor], Tensor]) -> int:
    """Launch a backward pass and return its least bytes: inputs, gradient of the output and all gradients once."""
    inputs, routes = example(dtype, states, layout, length), "cross" if layout == "routes" else ""
    out, last, starts = (x.normal_() for x in outputs(*inputs[:3], routes, True))
    handed = [guarded(x) for x in (torch.randn_like(out), torch.zeros_like(last), *inputs)]
    found = backward(*handed, None, guarded(starts), True, routes, 8)
    return sum(x.numel() * x.element_size() for x in (*handed, *found))


MOVEMENTS = tuple(Movement(named("backward", *case), partial(_moved, *case), 1.6, "per_program") for case in CASES)
