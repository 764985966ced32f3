"""The kernels as PyTorch operators, so that they differentiate and compile; what they return, by shape and strides."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ops.dispatch import DEVICES
from ops.double_backward import second_backward
from ops.layer_norm2d.reference import reference
from ops.layout import like

WIDEST = 2048
"""Channels that a kernel holds in registers."""
Gradients = tuple[Tensor, Tensor, Tensor]


def takes(x: Tensor) -> bool:
    """Whether there is a kernel for a map of this shape: its offsets are numbers of 32 bits."""
    return 0 < x.numel() < 1 << 31 and x.shape[1] <= WIDEST


def kernel_layer_norm2d(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
    """Normalise as the reference does; on a GPU, what `takes` allows."""
    return normalise(x, weight, bias, eps)[0]


@torch.library.custom_op("nas_ops::layer_norm2d", mutates_args=(), device_types=DEVICES)
def normalise(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the map, and mean and reciprocal deviation of each position in float32."""
    from ops.layer_norm2d.kernel import forward

    return forward(x, weight, bias, eps)


@torch.library.custom_op("nas_ops::layer_norm2d_backward", mutates_args=(), device_types=DEVICES)
def normalise_backward(grad: Tensor, x: Tensor, weight: Tensor, mean: Tensor, scale: Tensor, eps: float) -> Gradients:
    """Return the gradients of map, weight and bias, the last two in float32."""
    from ops.layer_norm2d.kernel import backward

    del eps
    return backward(grad, x, weight, mean, scale)


@normalise.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    del weight, bias, eps
    positions = x.shape[0] * x.shape[2] * x.shape[3]
    return like(x), x.new_empty(positions, dtype=torch.float32), x.new_empty(positions, dtype=torch.float32)


@normalise_backward.register_fake
def _(grad: Tensor, x: Tensor, weight: Tensor, mean: Tensor, scale: Tensor, eps: float) -> Gradients:
    del grad, weight, mean, scale, eps
    width = x.shape[1]
    return like(x), x.new_empty(width, dtype=torch.float32), x.new_empty(width, dtype=torch.float32)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    x, weight, bias, ctx.eps = inputs
    _, mean, scale = output
    ctx.bias = None if bias is None else bias.dtype
    ctx.save_for_backward(x, weight, mean, scale)
    ctx.mark_non_differentiable(mean, scale)


def _backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    _, weight, _, _ = ctx.saved_tensors
    d_x, d_weight, d_bias = normalise_backward(grad, *ctx.saved_tensors, ctx.eps)
    return d_x, d_weight.to(weight.dtype), None if ctx.bias is None else d_bias.to(ctx.bias), None


normalise.register_autograd(_backward, setup_context=_keep)


def _keep_all(ctx: Any, inputs: tuple[Any, ...], output: Gradients) -> None:
    del output
    grad, x, weight, mean, scale, ctx.eps = inputs
    del mean, scale  # functions of x, which the reference computes anew
    ctx.save_for_backward(grad, x, weight)


def _second_backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
    grad, x, weight = ctx.saved_tensors
    # any bias will do: its gradient does not depend on it
    inputs = (x, weight, torch.zeros_like(weight))
    found = second_backward(lambda x, weight, bias: reference(x, weight, bias, ctx.eps), grad, inputs, grads)
    return *found[:3], None, None, None


normalise_backward.register_autograd(_second_backward, setup_context=_keep_all)
