"""Differentiating inside a backward pass, where inputs may have been computed from one another."""

from __future__ import annotations

from torch import Tensor


def apart(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Return views that derive from nothing but their own tensor, to ask for the gradient of each by itself.

    A gradient asked for the tensors themselves would also go from one of them through another that was computed from
    it, and count that way twice.
    """
    return tuple(t.view_as(t) if t.requires_grad else t.detach().requires_grad_() for t in tensors)
