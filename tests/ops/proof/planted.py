"""Kernels with faults, one each, that the proofs must report."""

import triton
import triton.language as tl


@triton.jit
def copied(x, y, size, BLOCK: tl.constexpr, SHIFT: tl.constexpr, ROOM: tl.constexpr):
    """Copy elements from SHIFT on; reads and writes up to ROOM beyond `size`."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + i, tl.load(x + i + SHIFT, mask=i < size + ROOM), mask=i < size + ROOM)


@triton.jit
def product(a, b, c, SIDE: tl.constexpr, PRECISION: tl.constexpr):
    i = tl.arange(0, SIDE)
    where = i[:, None] * SIDE + i[None, :]
    out = tl.dot(tl.load(a + where), tl.load(b + where), input_precision=PRECISION)
    tl.store(c + where, out)


@triton.jit
def bf16_arithmetic(a, b, c, SIDE: tl.constexpr):
    """Compute in bf16 without casts: |a * b - a|."""
    i = tl.arange(0, SIDE)
    x, y = tl.load(a + i), tl.load(b + i)
    tl.store(c + i, tl.abs(x * y - x))


@triton.jit
def stored(x, y, SIDE: tl.constexpr):
    """Round to the type of y."""
    i = tl.arange(0, SIDE)
    tl.store(y + i, tl.load(x + i).to(y.dtype.element_ty))


@triton.jit
def added(x, y, SIDE: tl.constexpr):
    """Add all into the first element."""
    i = tl.arange(0, SIDE)
    tl.atomic_add(y + i * 0, tl.load(x + i))


@triton.jit
def summed_in_place(x, y, SIDE: tl.constexpr):
    """Add to elements that the program has just written, and to as many that it has not."""
    i = tl.program_id(0) * 2 * SIDE + tl.arange(0, 2 * SIDE)
    tl.store(y + i, tl.load(x + i), mask=tl.arange(0, 2 * SIDE) < SIDE)
    tl.store(y + i, tl.load(y + i) + tl.load(x + i))


@triton.jit
def unmasked(x, y, size, SIDE: tl.constexpr):
    """Use what masked lanes hold."""
    i = tl.arange(0, SIDE)
    tl.store(y, tl.sum(tl.load(x + i, mask=i < size)))


@triton.jit
def overlapping(x, y, SIDE: tl.constexpr):
    """Let each program write an element of the next one."""
    i = tl.program_id(0) * SIDE + tl.arange(0, 2 * SIDE)
    tl.store(y + i, tl.load(x + i))


@triton.jit
def _join(a, b, c, d):
    return a * c, b * c + d


@triton.jit
def recurrence(a, x, y, SIDE: tl.constexpr):
    """Scan h = a h + x along the first axis of squares, and reduce along the second by the same rule."""
    i = tl.arange(0, SIDE)
    where = i[:, None] * SIDE + i[None, :]
    _, h = tl.associative_scan((tl.load(a + where), tl.load(x + where)), 0, _join)
    _, last = tl.reduce((tl.load(a + where), tl.load(x + where)), 1, _join)
    tl.store(y + where, h)
    tl.store(y + SIDE * SIDE + i, last)


@triton.jit
def bits(x, y, SIDE: tl.constexpr):
    """Flip the sign of bf16 numbers by their bits."""
    i = tl.arange(0, SIDE)
    flipped = tl.load(x + i).to(tl.uint16, bitcast=True) ^ 0x8000
    tl.store(y + i, flipped.to(tl.bfloat16, bitcast=True))


@triton.jit
def spilling(x, y, size, SIDE: tl.constexpr):
    """Keep far more numbers than there are registers."""
    i = tl.arange(0, SIDE)
    values = tl.load(x + i)
    for step in range(size):
        values += tl.load(x + step * SIDE + i) * tl.sum(values)
    tl.store(y + i, values)


@triton.jit
def single(x, y, size):
    """Load one number that may not exist, and one by a mask that is one truth value."""
    tl.store(y, tl.load(x + 100, mask=size > 100, other=0.0))
    tl.store(y + 1 + tl.arange(0, 4), tl.load(x + tl.arange(0, 4), mask=size > 3, other=5.0), mask=size > 3)
