"""Differentiating inside a backward pass, where inputs may have been computed from one another."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def apart(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Return views that derive from nothing but their own tensor, to ask for the gradient of each by itself.

    A gradient asked for the tensors themselves would also go from one of them through another that was computed from
    it, and count that way twice.
    """
    return tuple(t.view_as(t) if t.requires_grad else t.detach().requires_grad_() for t in tensors)


def second_backward(
    law: Callable[..., Tensor | Sequence[Tensor]],
    grad: Tensor | Sequence[Tensor],
    inputs: Sequence[Tensor],
    grads: Sequence[Tensor],
) -> tuple[Tensor, ...]:
    """Differentiate the gradients of a law, for a kernel's backward pass that is differentiated itself.

    law:     the reference, of the inputs in float32.
    grad:    the gradient of the law's output, or those of its outputs, that the backward pass was given.
    grads:   the gradients of what the backward pass returned for the first inputs, in their order.
    Returns the gradients of all of `grad` and of each input, zeros where there is none.
    """
    outer = (grad,) if isinstance(grad, Tensor) else tuple(grad)
    with torch.enable_grad():
        leaves = apart(*outer, *inputs)
        wide = [leaf.float() for leaf in leaves]
        given, values = wide[: len(outer)], wide[len(outer) :]
        first = torch.autograd.grad(law(*values), values[: len(grads)], given, create_graph=True)
        return torch.autograd.grad(
            first, leaves, [each.float() for each in grads], create_graph=True, materialize_grads=True
        )
