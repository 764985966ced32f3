"""What both kernels of the selective scan are made of: tiles of positions, step sizes, states in registers.

A thread has channels of its own and goes through time alone, the states of its channels in registers, so that nothing
is exchanged between threads. A tile of positions is a tuple of vectors [BLOCK], one for each position. UNIT says how
tensors lie: 0 if the channels of a position do side by side, else positions do, and rows and lengths count in UNITs.
"""

from __future__ import annotations

import triton
import triton.language as tl

CONFIGURATIONS = ()
MOVEMENTS = ()
LOG2_E = tl.constexpr(1.4426950408889634)
LN_2 = tl.constexpr(0.6931471805599453)


@triton.jit
def softplus(x):
    """log(1 + exp(x)) to the last digits: for e = exp(-|x|) <= 1, log(1 + e) = 2 atanh(e / (2 + e)) by its series."""
    e = tl.exp2(-tl.abs(x) * LOG2_E)
    s = e / (2.0 + e)
    q = s * s
    p = q * (1.0 / 17) + 1.0 / 15
    p = p * q + 1.0 / 13
    p = p * q + 1.0 / 11
    p = p * q + 1.0 / 9
    p = p * q + 1.0 / 7
    p = p * q + 1.0 / 5
    p = p * q + 1.0 / 3
    return tl.maximum(x, 0.0) + 2.0 * (s + s * (q * p))


@triton.jit
def sigmoid(x):
    """1 / (1 + exp(-x)), small values to the last digits, too."""
    e = tl.exp2(-tl.abs(x) * LOG2_E)
    return tl.where(x >= 0, 1.0, e) / (1.0 + e)


@triton.jit
def fours(sizes, COUNT: tl.constexpr):
    """The same sizes, of which the compiler then knows that they are divisible by 4."""
    out = ()
    for i in tl.static_range(COUNT):
        out = out + (sizes[i] // 4 * 4,)
    return out


@triton.jit
def placed(s, length, map_width, turn):
    """Where position s of a route lies on the map; bits of `turn`: transposed, outer axis flipped, inner flipped."""
    height = length // map_width
    transposed = (turn & 1) != 0
    inner = tl.where(transposed, height, map_width)
    outer = tl.where(transposed, map_width, height)
    a = s // inner
    b = s - a * inner
    a = tl.where((turn & 2) != 0, outer - 1 - a, a)
    b = tl.where((turn & 4) != 0, inner - 1 - b, b)
    return tl.where(transposed, b * map_width + a, a * map_width + b)


@triton.jit
def tile_at(t, length, map_width, turn, lane, mine, STEPS: tl.constexpr, ROUTES: tl.constexpr):
    """Describe the tile that begins at t: its places, which are inside, t, length, lanes and which of them exist.

    Beyond the end the place is the last one: what is told there is loaded, and meets a step size of zero.
    """
    places, inside = (), ()
    for i in tl.static_range(STEPS):
        inside = inside + (t + i < length,)
        s = tl.minimum(t + i, length - 1)
        places = places + (placed(s, length, map_width, turn) if ROUTES > 1 else s,)
    return places, inside, t, length, lane, mine


@triton.jit
def _apart(tile, BLOCK: tl.constexpr, COUNT: tl.constexpr):
    """[BLOCK, COUNT] -> its columns."""
    level = (tile,)
    for k in tl.static_range(COUNT.bit_length() - 1):
        low, high = (), ()
        for i in tl.static_range(1 << k):
            first, second = tl.split(level[i].reshape(BLOCK, COUNT >> (k + 1), 2))
            low, high = low + (first,), high + (second,)
        level = low + high
    out = ()
    for i in tl.static_range(COUNT):
        out = out + (level[i].reshape(BLOCK),)
    return out


@triton.jit
def together(parts, BLOCK: tl.constexpr, COUNT: tl.constexpr):
    """Columns -> [BLOCK, COUNT]."""
    level = parts
    for k in tl.static_range(COUNT.bit_length() - 1):
        joined = ()
        for i in tl.static_range(COUNT >> (k + 1)):
            joined = joined + (tl.join(level[i], level[i + (COUNT >> (k + 1))]),)
        level = joined
    return level[0].reshape(BLOCK, COUNT)


@triton.jit
def take(at, row, tile, BLOCK: tl.constexpr, STEPS: tl.constexpr, UNIT: tl.constexpr):
    """Load a tile in float32; zeros where there is nothing."""
    places, inside, t, _, lane, mine = tile
    if UNIT == 0:
        out = ()
        for i in tl.static_range(STEPS):
            out = out + (tl.load(at + places[i] * row + lane, mask=mine & inside[i], other=0.0).to(tl.float32),)
    else:
        where = (lane * row)[:, None] * UNIT + (t + tl.arange(0, STEPS))[None, :]
        out = _apart(tl.load(at + where, mask=mine[:, None], other=0.0).to(tl.float32), BLOCK, STEPS)
    return out


@triton.jit
def give(at, row, tile, parts, BLOCK: tl.constexpr, STEPS: tl.constexpr, UNIT: tl.constexpr):
    """Store a tile."""
    places, inside, t, _, lane, mine = tile
    if UNIT == 0:
        for i in tl.static_range(STEPS):
            tl.store(at + places[i] * row + lane, parts[i].to(at.dtype.element_ty), mask=mine & inside[i])
    else:
        where = (lane * row)[:, None] * UNIT + (t + tl.arange(0, STEPS))[None, :]
        tl.store(at + where, together(parts, BLOCK, STEPS).to(at.dtype.element_ty), mask=mine[:, None])


@triton.jit
def add(at, row, tile, parts, route, BLOCK: tl.constexpr, STEPS: tl.constexpr, UNIT: tl.constexpr):
    """Store a tile of the first route, add those of the others to what stands there."""
    places, inside, t, length, lane, mine = tile
    before = take(at, row, (places, inside, t, length, lane, mine & (route > 0)), BLOCK, STEPS, UNIT)
    summed = ()
    for i in tl.static_range(STEPS):
        summed = summed + (before[i] + parts[i],)
    give(at, row, tile, summed, BLOCK, STEPS, UNIT)


@triton.jit
def step_sizes(raw, bias, inside, through_softplus, STEPS: tl.constexpr):
    """Ready step sizes; 0 beyond the end, which leaves states as they are."""
    out = ()
    for i in tl.static_range(STEPS):
        x = raw[i] + bias
        x = tl.where(through_softplus != 0, softplus(x), x)
        out = out + (tl.where(inside[i], x, 0.0),)
    return out


@triton.jit
def get(at, stride, lane, mine, COUNT: tl.constexpr):
    """Load what belongs to each of COUNT states of the lanes."""
    out = ()
    for n in tl.static_range(COUNT):
        out = out + (tl.load(at + n * stride + lane, mask=mine, other=0.0),)
    return out


@triton.jit
def put(at, stride, lane, mine, parts, COUNT: tl.constexpr):
    """Store it."""
    for n in tl.static_range(COUNT):
        tl.store(at + n * stride + lane, parts[n], mask=mine)


@triton.jit
def told(at, stride, where, COUNT: tl.constexpr):
    """Load B or C of COUNT states at one position, which all channels share."""
    out = ()
    for n in tl.static_range(COUNT):
        out = out + (tl.load(at + where + n * stride).to(tl.float32),)
    return out


@triton.jit
def entered(h, rate, size, value, bs, COUNT: tl.constexpr):
    """Return the states after one position; rates are those of powers of 2."""
    out = ()
    for n in tl.static_range(COUNT):
        out = out + (tl.exp2(size * rate[n]) * h[n] + size * value * bs[n],)
    return out
