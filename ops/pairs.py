"""Complex numbers as pairs of real tensors: what exporters, which know few complex operators, can translate."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Pair", "over", "parts", "polar", "times"]

Pair = tuple[Tensor, Tensor]
"""Real and imaginary part."""


def parts(values: Tensor) -> Pair:
    """Return both parts in fp64; the imaginary part of real values is 0."""
    if not values.is_complex():
        return values.double(), torch.zeros_like(values, dtype=torch.float64)
    return values.real.double(), values.imag.double()


def times(a: Pair, b: Pair) -> Pair:
    """Return the product."""
    return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]


def over(a: Pair, b: Pair) -> Pair:
    """Return the quotient; the square of |b| must be a number of its dtype."""
    square = b[0] * b[0] + b[1] * b[1]
    return (a[0] * b[0] + a[1] * b[1]) / square, (a[1] * b[0] - a[0] * b[1]) / square


def polar(size: Tensor, angle: Tensor) -> Pair:
    """Return `size` times (cos, sin) of `angle`."""
    return size * angle.cos(), size * angle.sin()
