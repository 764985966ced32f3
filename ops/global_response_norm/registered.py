"""The kernels as PyTorch operators, so that they differentiate and compile; what they return, by shape and strides."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ops.dispatch import DEVICES
from ops.double_backward import second_backward
from ops.global_response_norm.reference import reference
from ops.layout import like

Gradients = tuple[Tensor, Tensor, Tensor]


def takes(x: Tensor) -> bool:
    """Whether there is a kernel for a map of this shape: its offsets are numbers of 32 bits, images few enough."""
    return 0 < x.numel() < 1 << 31 and x.shape[0] < 1 << 16


def kernel_global_response_norm(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
    """Normalise as the reference does; on a GPU, what `takes` allows."""
    return respond(x, weight, bias, eps)[0]


@torch.library.custom_op("nas_ops::global_response_norm", mutates_args=(), device_types=DEVICES)
def respond(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> tuple[Tensor, Tensor]:
    """Return the map, and each channel's norm [N, C] in float32."""
    from ops.global_response_norm.kernel import forward

    return forward(x, weight, bias, eps)


@torch.library.custom_op("nas_ops::global_response_norm_backward", mutates_args=(), device_types=DEVICES)
def respond_backward(grad: Tensor, x: Tensor, weight: Tensor, norms: Tensor, eps: float) -> Gradients:
    """Return the gradients of map, weight and bias, the last two in float32."""
    from ops.global_response_norm.kernel import backward

    return backward(grad, x, weight, norms, eps)


@respond.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> tuple[Tensor, Tensor]:
    del weight, bias, eps
    return like(x), x.new_empty(x.shape[:2], dtype=torch.float32)


@respond_backward.register_fake
def _(grad: Tensor, x: Tensor, weight: Tensor, norms: Tensor, eps: float) -> Gradients:
    del grad, weight, norms, eps
    width = x.shape[1]
    return like(x), x.new_empty(width, dtype=torch.float32), x.new_empty(width, dtype=torch.float32)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, weight, bias, ctx.eps = inputs
    ctx.bias = None if bias is None else bias.dtype
    ctx.save_for_backward(x, weight, output[1])
    ctx.mark_non_differentiable(output[1])


def _backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    _, weight, _ = ctx.saved_tensors
    d_x, d_weight, d_bias = respond_backward(grad, *ctx.saved_tensors, ctx.eps)
    return d_x, d_weight.to(weight.dtype), None if ctx.bias is None else d_bias.to(ctx.bias), None


respond.register_autograd(_backward, setup_context=_keep)


def _keep_all(ctx: Any, inputs: tuple[Any, ...], output: Gradients) -> None:
    del output
    grad, x, weight, norms, ctx.eps = inputs
    del norms  # a function of x, which the reference computes anew
    ctx.save_for_backward(grad, x, weight)


def _second_backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
    grad, x, weight = ctx.saved_tensors
    # any bias will do: its gradient does not depend on it
    inputs = (x, weight, torch.zeros_like(weight))
    found = second_backward(lambda x, weight, bias: reference(x, weight, bias, ctx.eps), grad, inputs, grads)
    return *found[:3], None, None


respond_backward.register_autograd(_second_backward, setup_context=_keep_all)
