"""Gradients of the states through a tile of positions, in registers, for the selective scan's backward pass."""

from __future__ import annotations

import triton
import triton.language as tl

from ops.selective_scan.kernel_tiles import LN_2, LOG2_E, entered, placed, sigmoid, together, told

CONFIGURATIONS = ()
MOVEMENTS = ()


@triton.jit
def scaled(rate, COUNT: tl.constexpr):
    """Return rates of powers of 2."""
    out = ()
    for n in tl.static_range(COUNT):
        out = out + (rate[n] * LOG2_E,)
    return out


@triton.jit
def states_through(h, rate, us, ds, tile, b, b_state, b_step, first, COUNT: tl.constexpr, STEPS: tl.constexpr):
    """Return the states that each position of a tile finds, and those that the last one leaves."""
    past = (h,)
    for i in tl.static_range(STEPS):
        bs = told(b + first * b_state, b_state, tile[0][i] * b_step, COUNT)
        h = entered(h, rate, ds[i], us[i], bs, COUNT)
        past = past + (h,)
    return past


@triton.jit
def read_out(ys, past, tile, c, c_state, c_step, first, COUNT: tl.constexpr, STEPS: tl.constexpr):
    """Add to the outputs what the states give."""
    out = ()
    for i in tl.static_range(STEPS):
        cs = told(c + first * c_state, c_state, tile[0][i] * c_step, COUNT)
        y = ys[i]
        for n in tl.static_range(COUNT):
            y += past[i + 1][n] * cs[n]
        out = out + (y,)
    return out


@triton.jit
def back_through(
    g, d_rate, rate, past, us, ds, dys, of_product, of_step, tile, b, b_state, b_step, c, c_state, c_step, d_told,
    first, map_width, turn, row,
    COUNT: tl.constexpr, BLOCK: tl.constexpr, STEPS: tl.constexpr, ROUTES: tl.constexpr,
):  # fmt: skip
    """Take gradients of states through a tile; returns them, those of the rates, of delta * u and of delta."""
    TURN: tl.constexpr = STEPS if COUNT * STEPS <= 8 else 8 // COUNT  # positions that are summed together
    places, _, t, length, _, _ = tile
    products, exponents, sums = (), (), ()
    for i in tl.static_range(STEPS - 1, -1, -1):
        bs = told(b + first * b_state, b_state, places[i] * b_step, COUNT)
        cs = told(c + first * c_state, c_state, places[i] * c_step, COUNT)
        d_product, d_step = of_product[i], of_step[i]
        to_b, to_c, found, rates = (), (), (), ()
        for n in tl.static_range(COUNT):
            whole = g[n] + dys[i] * cs[n]
            to_b, to_c = to_b + (whole * (ds[i] * us[i]),), to_c + (past[i + 1][n] * dys[i],)
            d_product += whole * bs[n]
            kept = whole * tl.exp2(ds[i] * rate[n])
            exponent = kept * past[i][n]
            d_step += exponent * rate[n]
            rates, found = rates + (d_rate[n] + exponent * ds[i],), found + (kept,)
        g, d_rate = found, rates
        products, exponents, sums = (d_product,) + products, (d_step,) + exponents, to_b + to_c + sums
        if i % TURN == 0:
            index = tl.arange(0, TURN * 2 * COUNT)
            s, part = t + i + index // (2 * COUNT), index % (2 * COUNT)
            n = first + part % COUNT
            total = tl.sum(together(sums, BLOCK, TURN * 2 * COUNT), 0)
            place = placed(s, length, map_width, turn) if ROUTES > 1 else s
            where = place * row + n * 2 + part // COUNT
            tl.store(d_told + where, total, mask=s < length)
            sums = ()
    return g, d_rate, products, exponents


@triton.jit
def ungated(dys, ys, zs, STEPS: tl.constexpr):
    """Return the gradients of the outputs before the gate and of the gate."""
    of_y, of_z = (), ()
    for i in tl.static_range(STEPS):
        share = sigmoid(zs[i])
        of_y = of_y + (dys[i] * zs[i] * share,)
        of_z = of_z + (dys[i] * ys[i] * share * (1.0 + zs[i] * (1.0 - share)),)
    return of_y, of_z


@triton.jit
def told_from(of_product, of_step, us, ds, dys, raw, added, through, inside, through_softplus, STEPS: tl.constexpr):
    """Return the gradients of u and delta, and the sums of those of delta and of the skip."""
    of_u, of_delta = (), ()
    of_bias, of_skip = of_step[0] * 0.0, of_step[0] * 0.0
    for i in tl.static_range(STEPS):
        of_u = of_u + (of_product[i] * ds[i] + through * dys[i],)
        d_step = of_step[i] * LN_2 + of_product[i] * us[i]
        d_step = tl.where(through_softplus != 0, d_step * sigmoid(raw[i] + added), d_step)
        of_delta = of_delta + (d_step,)
        of_skip += dys[i] * us[i]
        of_bias += tl.where(inside[i], d_step, 0.0)
    return of_u, of_delta, of_bias, of_skip


@triton.jit
def zeros(BLOCK: tl.constexpr, STEPS: tl.constexpr):
    """Return a tile of zeros."""
    out = ()
    for _ in tl.static_range(STEPS):
        out = out + (tl.zeros((BLOCK,), tl.float32),)
    return out


@triton.jit
def skipped(us, through, STEPS: tl.constexpr):
    """Return what the skip gives."""
    out = ()
    for i in tl.static_range(STEPS):
        out = out + (us[i] * through,)
    return out
