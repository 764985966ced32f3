"""Gated products in Triton: both maps are read once, the product is written once.

Maps are rows of numbers side by side: a whole map, an image of a slice of channels, or a position's channels. Which
activation a factor passes through is a number that all programs know, so that each kernel is compiled once for all.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import triton
import triton.language as tl
from torch import Tensor

from ops.gated_product.reference import ACTIVATIONS
from ops.kernel import POINTERS, STREAMING, Configuration, Movement, aligned
from ops.layout import room, rows

LONG, SHORT = (1, 4096), (32, 128)
"""Rows and numbers of a tile, for rows of at least LONGEST numbers and for shorter ones."""
LONGEST = 1024
SIZES = ["count", "length", "gate_apart", "value_apart"]
CHOICES = ["act", "value_act"]
SILU, GELU, RELU, SIGMOID = (tl.constexpr(ACTIVATIONS.index(name)) for name in ("silu", "gelu", "relu", "sigmoid"))


@triton.jit
def _activated(x, act):
    """Return the activation and its derivative."""
    y, slope = x, tl.full(x.shape, 1.0, tl.float32)
    if act == SILU:
        s = tl.sigmoid(x)
        y, slope = x * s, s * (1 + x * (1 - s))
    elif act == GELU:
        below = 0.5 * (1 + tl.erf(x * 0.7071067811865476))
        y, slope = x * below, below + x * 0.3989422804014327 * tl.exp(-0.5 * x * x)
    elif act == RELU:
        y, slope = tl.maximum(x, 0.0, propagate_nan=tl.PropagateNan.ALL), tl.where(x > 0, 1.0, 0.0)
    elif act == SIGMOID:
        s = tl.sigmoid(x)
        y, slope = s, s * (1 - s)
    return y, slope


@triton.jit
def _places(count, length, gate_apart, value_apart, ROWS: tl.constexpr, NUMBERS: tl.constexpr, VECTOR: tl.constexpr):
    """Return which numbers of a tile exist, and where they lie: in gate, value, and maps without gaps."""
    across = tl.cdiv(length, NUMBERS)
    r = tl.program_id(0) // across * ROWS + tl.arange(0, ROWS)
    c = tl.program_id(0) % across * NUMBERS + tl.arange(0, NUMBERS)
    if VECTOR:
        length, gate_apart, value_apart = length // 16 * 16, gate_apart // 16 * 16, value_apart // 16 * 16
    inside = (r < count)[:, None] & (c < length)[None, :]
    r, c = r[:, None], c[None, :]
    return inside, r * gate_apart + c, r * value_apart + c, r * length + c


@triton.jit(do_not_specialize=[*SIZES, *CHOICES])
def forward_kernel(
    gate, value, y, count, length, gate_apart, value_apart, act, value_act, scale, ROWS: tl.constexpr,
    NUMBERS: tl.constexpr, VECTOR: tl.constexpr,
):  # fmt: skip
    """Multiply a tile."""
    inside, of_gate, of_value, place = _places(count, length, gate_apart, value_apart, ROWS, NUMBERS, VECTOR)
    a, _ = _activated(tl.load(gate + of_gate, mask=inside, other=0.0).to(tl.float32), act)
    b, _ = _activated(tl.load(value + of_value, mask=inside, other=0.0).to(tl.float32), value_act)
    tl.store(y + place, (a * (b * scale)).to(y.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=[*SIZES, *CHOICES])
def backward_kernel(
    grad, gate, value, d_gate, d_value, count, length, gate_apart, value_apart, act, value_act, scale,
    ROWS: tl.constexpr, NUMBERS: tl.constexpr, VECTOR: tl.constexpr,
):  # fmt: skip
    """Return the gradients of a tile of both factors."""
    inside, of_gate, of_value, place = _places(count, length, gate_apart, value_apart, ROWS, NUMBERS, VECTOR)
    a, of_a = _activated(tl.load(gate + of_gate, mask=inside, other=0.0).to(tl.float32), act)
    b, of_b = _activated(tl.load(value + of_value, mask=inside, other=0.0).to(tl.float32), value_act)
    g = tl.load(grad + place, mask=inside, other=0.0).to(tl.float32) * scale
    tl.store(d_gate + place, (g * b * of_a).to(d_gate.dtype.element_ty), mask=inside)
    tl.store(d_value + place, (g * a * of_b).to(d_value.dtype.element_ty), mask=inside)


def _configured(dtype: torch.dtype, tile: tuple[int, int], vector: bool, backward: bool) -> Configuration:
    maps = ("grad", "gate", "value", "d_gate", "d_value") if backward else ("gate", "value", "y")
    words = ("backward" if backward else "forward", str(dtype).removeprefix("torch."), f"{tile[0]}x{tile[1]}")
    return Configuration(
        name=" ".join([*words, *["divisible"] * vector]),
        kernel=backward_kernel if backward else forward_kernel,
        types={
            **dict.fromkeys(maps, POINTERS[dtype]),
            **dict.fromkeys([*SIZES, *CHOICES], "i32"),
            "scale": "fp32",
        },
        constants={"ROWS": tile[0], "NUMBERS": tile[1], "VECTOR": vector},
        limits=STREAMING,
        num_warps=8,
        vector_bits=128 if vector else 0,
    )


TABLE = {
    (dtype, tile, vector, backward): _configured(dtype, tile, vector, backward)
    for dtype in POINTERS
    for tile in (LONG, SHORT)
    for vector in (False, True)
    for backward in (False, True)
}
CONFIGURATIONS = tuple(TABLE.values())


def configuration(dtype: torch.dtype, length: int, *apart: int, backward: bool) -> Configuration:
    """Return how rows of that length are multiplied, `apart` being how far apart they are in each map."""
    tile = LONG if length >= LONGEST else SHORT
    return TABLE[dtype, tile, all(number % 16 == 0 for number in (length, *apart)), backward]


def _in_rows(gate: Tensor, value: Tensor) -> tuple[Tensor, Tensor, tuple[int, int, int, int]]:
    """Return both maps, copied where they have to be, with number and length of rows and how far apart they are."""
    whole = _format(room(gate))
    gate, value = (aligned(each if rows(each) and _format(room(each)) == whole else _dense(each, whole))
                   for each in (gate, value))  # fmt: skip
    found = rows(gate), rows(value)
    count, length, _ = max(each for each in found if each is not None)
    apart = [each[2] if each is not None and each[0] == count else length for each in found]
    if any(each is None or each[0] not in (1, count) for each in found):
        return _dense(gate, whole), _dense(value, whole), (1, gate.numel(), gate.numel(), gate.numel())
    return gate, value, (count, length, *apart)


def _dense(x: Tensor, layout: torch.memory_format) -> Tensor:
    return aligned(x.contiguous(memory_format=layout))


def _format(x: Tensor) -> torch.memory_format:
    return torch.contiguous_format if x.is_contiguous() else torch.channels_last


def _grid(chosen: Configuration, sizes: tuple[int, int, int, int]) -> tuple[int]:
    down, across = chosen.constants["ROWS"], chosen.constants["NUMBERS"]
    return (triton.cdiv(sizes[0], down) * triton.cdiv(sizes[1], across),)


def forward(gate: Tensor, value: Tensor, act: str, value_act: str, scale: float) -> Tensor:
    """Return the product, in the layout of the gate."""
    y = room(gate)
    gate, value, sizes = _in_rows(gate, value)
    chosen = configuration(gate.dtype, *sizes[1:], backward=False)
    numbers = (ACTIVATIONS.index(act), ACTIVATIONS.index(value_act), scale)
    chosen.launch(_grid(chosen, sizes), gate, value, y, *sizes, *numbers)
    return y


def backward(
    grad: Tensor, gate: Tensor, value: Tensor, act: str, value_act: str, scale: float
) -> tuple[Tensor, Tensor]:
    """Return the gradients of both factors, in the layout of the gate."""
    d_gate, d_value = room(gate), room(gate)
    grad = aligned(grad.contiguous(memory_format=_format(d_gate)))
    gate, value, sizes = _in_rows(gate, value)
    chosen = configuration(gate.dtype, *sizes[1:], backward=True)
    numbers = (ACTIVATIONS.index(act), ACTIVATIONS.index(value_act), scale)
    chosen.launch(_grid(chosen, sizes), grad, gate, value, d_gate, d_value, *sizes, *numbers)
    return d_gate, d_value


def _moved(dtype: torch.dtype, guarded: Callable[[Tensor], Tensor], *, sliced: bool, back: bool) -> int:
    maps = [torch.randn(1, 64, 16, 16).to(dtype, memory_format=torch.channels_last) for _ in range(3)]
    whole = guarded(torch.randn(1, 128, 16, 16).to(dtype, memory_format=torch.channels_last))
    grad, gate, value = map(guarded, maps)
    options = ("gelu", "silu", 1.0)
    if back:
        backward(grad, gate, whole[:, 64:] if sliced else value, *options)
    else:
        forward(gate, whole[:, 64:] if sliced else value, *options)
    return (5 if back else 3) * gate.numel() * gate.element_size()


MOVEMENTS = tuple(
    Movement(
        f"{name} {str(dtype).removeprefix('torch.')}{' of a slice' * sliced}",
        partial(_moved, dtype, sliced=sliced, back=back),
        most,
        "per_program",
    )
    for name, back, most in (("forward", False, 1.1), ("backward", True, 1.6))
    for dtype in (torch.float32, torch.bfloat16)
    for sliced in (False, True)
)
