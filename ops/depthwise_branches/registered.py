"""The kernels as PyTorch operators, so that they differentiate and compile; which branches they take together."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ops.depthwise_branches.reference import reference
from ops.depthwise_conv2d.registered import is_last, takes, weight_gradient
from ops.dispatch import DEVICES
from ops.double_backward import second_backward

MOST = 3
"""Branches that one launch takes."""


def takes_together(x: Tensor, weights: list[Tensor], dilations: list[int]) -> bool:
    """Whether a kernel reads this map once for all branches: contiguous ones, others are better off one by one."""
    odd = all(weight.shape[:2] == (x.shape[1], 1) and weight.shape[2] % 2 and weight.shape[3] % 2 for weight in weights)
    fits = (takes(x, weight, None, dilation, 1) for weight, dilation in zip(weights, dilations, strict=True))
    return not is_last(x) and len(weights) > 1 and odd and min(dilations) >= 1 and all(fits)


@torch.library.custom_op("nas_ops::depthwise_branches", mutates_args=(), device_types=DEVICES)
def branches(x: Tensor, weights: list[Tensor], dilations: list[int]) -> list[Tensor]:
    """Convolve a map by two or three kernels."""
    from ops.depthwise_branches.kernel import forward

    return forward(x, weights, dilations)


@torch.library.custom_op("nas_ops::depthwise_branches_backward", mutates_args=(), device_types=DEVICES)
def branches_backward(grads: list[Tensor], x: Tensor, weights: list[Tensor], dilations: list[int]) -> list[Tensor]:
    """Return the gradients of the map and of each kernel."""
    from ops.depthwise_branches.kernel import backward

    found = [backward(grads, weights, dilations)]
    for grad, weight, dilation in zip(grads, weights, dilations, strict=True):
        found.append(
            weight_gradient(grad.contiguous(), x.contiguous(), weight.shape[2], weight.shape[3], dilation)[0].to(
                weight.dtype
            )
        )
    return found


@branches.register_fake
def _(x: Tensor, weights: list[Tensor], dilations: list[int]) -> list[Tensor]:
    del dilations
    return [torch.empty(x.shape, dtype=x.dtype, device=x.device) for _ in weights]


@branches_backward.register_fake
def _(grads: list[Tensor], x: Tensor, weights: list[Tensor], dilations: list[int]) -> list[Tensor]:
    del grads, dilations
    return [torch.empty(each.shape, dtype=each.dtype, device=each.device) for each in (x, *weights)]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    del output
    x, weights, ctx.dilations = inputs
    ctx.save_for_backward(x, *weights)


def _backward(ctx: Any, grads: list[Tensor]) -> tuple[Any, ...]:
    x, *weights = ctx.saved_tensors
    d_x, *d_weights = branches_backward(list(grads), x, weights, ctx.dilations)
    return d_x, d_weights, None


branches.register_autograd(_backward, setup_context=_keep)


def _keep_all(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    del output
    grads, x, weights, ctx.dilations = inputs
    ctx.save_for_backward(*grads, x, *weights)


def _second_backward(ctx: Any, found: list[Tensor]) -> tuple[Any, ...]:
    count = len(ctx.dilations)

    def law(x: Tensor, *weights: Tensor) -> list[Tensor]:
        return reference(x, weights, ctx.dilations)

    grads, inputs = ctx.saved_tensors[:count], ctx.saved_tensors[count:]
    second = second_backward(law, grads, inputs, found)
    return list(second[:count]), second[count], list(second[count + 1 :]), None


branches_backward.register_autograd(_second_backward, setup_context=_keep_all)
