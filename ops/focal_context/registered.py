"""The kernels as PyTorch operators, so that they differentiate and compile; what they return, by shape and strides.

The taps of all levels are one matrix, row by row and level after level: an operator of a list of kernels would make as
many copies of them as there are levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ops.dispatch import DEVICES
from ops.double_backward import second_backward
from ops.focal_context.reference import reference
from ops.layout import extent, like, room

SIDES = (3, 5, 7, 9, 11)
LEVELS = 4
VECTOR = 8
"""Channels that are loaded together."""
Outputs = tuple[Tensor, Tensor, Tensor]


def takes(x: Tensor, weights: Sequence[Tensor], gates: Tensor) -> bool:
    """Whether there are kernels for these: square ones of up to 11 taps a side, offsets of 32 bits, whole vectors."""
    known = all(weight.shape[2] == weight.shape[3] and weight.shape[2] in SIDES for weight in weights)
    far = max(x.numel(), extent(x), extent(gates))
    return known and len(weights) <= LEVELS and x.shape[1] % VECTOR == 0 and x.numel() > 0 and far < 1 << 31


def kernel_focal_context(x: Tensor, weights: Sequence[Tensor], gates: Tensor, scale: float) -> Tensor:
    """Gather contexts as the reference does; on a GPU, what `takes` allows."""
    taps = torch.cat([weight.flatten(1) for weight in weights], 1).t()
    keep = torch.is_grad_enabled() and any(each.requires_grad for each in (x, taps, gates))
    return gather(x, taps, gates, [weight.shape[2] for weight in weights], scale, keep)[0]


def kernels_of(taps: Tensor, sides: Sequence[int]) -> list[Tensor]:
    """Return the kernels [C, 1, K, K] of a matrix of taps [sum of K * K, C]."""
    parts = taps.split([side * side for side in sides])
    return [part.t().reshape(-1, 1, side, side) for part, side in zip(parts, sides, strict=True)]


@torch.library.custom_op("nas_ops::focal_context", mutates_args=(), device_types=DEVICES)
def gather(x: Tensor, taps: Tensor, gates: Tensor, sides: list[int], scale: float, keep: bool) -> Outputs:
    """Return the context, the mean of the last level [N, C] in float32, and what is kept for the backward pass."""
    from ops.focal_context.kernel import forward

    return forward(x, taps, gates, sides, scale, keep)


@torch.library.custom_op("nas_ops::focal_context_backward", mutates_args=(), device_types=DEVICES)
def gather_backward(
    grad: Tensor, x: Tensor, taps: Tensor, gates: Tensor, mean: Tensor, kept: Tensor, sides: list[int], scale: float
) -> Outputs:
    """Return the gradients of map, taps in float32, and gates."""
    from ops.focal_context.kernel import backward

    return backward(grad, x, taps, gates, mean, kept, sides, scale)


@gather.register_fake
def _(x: Tensor, taps: Tensor, gates: Tensor, sides: list[int], scale: float, keep: bool) -> Outputs:
    del taps, gates, scale
    images, channels, height, width = x.shape
    kept = x.new_empty(2 * len(sides) - 1 if keep else 0, images, height, width, channels)
    return room(x), x.new_empty(images, channels, dtype=torch.float32), kept


@gather_backward.register_fake
def _(
    grad: Tensor, x: Tensor, taps: Tensor, gates: Tensor, mean: Tensor, kept: Tensor, sides: list[int], scale: float
) -> Outputs:
    del grad, mean, kept, sides, scale
    return room(x), taps.new_empty(taps.shape, dtype=torch.float32), like(gates)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Outputs) -> None:
    x, taps, gates, ctx.sides, ctx.scale, _ = inputs
    _, mean, kept = output
    ctx.save_for_backward(x, taps, gates, mean, kept)
    ctx.mark_non_differentiable(mean, kept)


def _backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    x, taps, gates, mean, kept = ctx.saved_tensors
    if not len(kept):
        _, mean, kept = gather(x, taps, gates, ctx.sides, ctx.scale, True)
    d_x, d_taps, d_gates = gather_backward(grad, x, taps, gates, mean, kept, ctx.sides, ctx.scale)
    return d_x, d_taps.to(taps.dtype), d_gates, None, None, None


gather.register_autograd(_backward, setup_context=_keep)


def _keep_all(ctx: Any, inputs: tuple[Any, ...], output: Outputs) -> None:
    del output
    *tensors, ctx.sides, ctx.scale = inputs
    ctx.save_for_backward(*tensors[:4])  # the others are functions of them, which the reference computes anew


def _second_backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
    def law(x: Tensor, taps: Tensor, gates: Tensor) -> Tensor:
        return reference(x, kernels_of(taps, ctx.sides), gates, ctx.scale)

    grad, *inputs = ctx.saved_tensors
    return *second_backward(law, grad, inputs, grads), None, None, None, None


gather_backward.register_autograd(_second_backward, setup_context=_keep_all)
