"""The kernel as PyTorch operators, so that it differentiates and compiles; which maps it takes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ops.depthwise_conv2d.registered import is_last, takes, weight_gradient
from ops.dispatch import DEVICES
from ops.double_backward import second_backward
from ops.inception_depthwise.reference import reference


def takes_at_once(x: Tensor, weights: list[Tensor], biases: list[Tensor]) -> bool:
    """Whether a kernel takes all channels in one launch: of contiguous maps; others slide group by group."""
    square, lying, upright = (tuple(weight.shape[2:]) for weight in weights)
    sides = square[0] == square[1] and lying[0] == upright[1] == 1 and lying[1] == upright[0]
    odd = all(weight.shape[1] == 1 and weight.shape[2] % 2 and weight.shape[3] % 2 for weight in weights)
    fits = all(takes(x, weight, None, 1, 1) for weight in weights) and all(bias.dtype == x.dtype for bias in biases)
    return not is_last(x) and sides and odd and fits


@torch.library.custom_op("nas_ops::inception_depthwise", mutates_args=(), device_types=DEVICES)
def mix(x: Tensor, weights: list[Tensor], biases: list[Tensor]) -> Tensor:
    """Mix a map as the reference does."""
    from ops.inception_depthwise.kernel import forward

    return forward(x, weights, biases)


@torch.library.custom_op("nas_ops::inception_depthwise_backward", mutates_args=(), device_types=DEVICES)
def mix_backward(grad: Tensor, x: Tensor, weights: list[Tensor], biased: bool) -> list[Tensor]:
    """Return the gradients of the map, of each weight and of each bias."""
    from ops.inception_depthwise.kernel import forward

    group, d_weights, d_biases = len(weights[0]), list[Tensor](), list[Tensor]()
    for part, weight in enumerate(weights):
        channels = slice(x.shape[1] + (part - 3) * group, x.shape[1] + (part - 2) * group)
        found = weight_gradient(grad[:, channels], x[:, channels], weight.shape[2], weight.shape[3], 1)
        d_weights.append(found[0].to(weight.dtype))
        d_biases += [found[1].to(weight.dtype)] * biased
    return [forward(grad, weights, [], back=True), *d_weights, *d_biases]


@mix.register_fake
def _(x: Tensor, weights: list[Tensor], biases: list[Tensor]) -> Tensor:
    del weights, biases
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


@mix_backward.register_fake
def _(grad: Tensor, x: Tensor, weights: list[Tensor], biased: bool) -> list[Tensor]:
    del grad
    found = [torch.empty(each.shape, dtype=each.dtype, device=each.device) for each in (x, *weights)]
    return found + [weight.new_empty(len(weight)) for weight in weights if biased]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    del output
    x, weights, biases = inputs
    ctx.biased = bool(biases)
    ctx.save_for_backward(x, *weights)


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    x, *weights = ctx.saved_tensors
    d_x, *others = mix_backward(grad, x, weights, ctx.biased)
    return d_x, others[:3], others[3:]


mix.register_autograd(_backward, setup_context=_keep)


def _keep_all(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    del output
    grad, x, weights, ctx.biased = inputs
    ctx.save_for_backward(grad, x, *weights)


def _second_backward(ctx: Any, found: list[Tensor]) -> tuple[Any, ...]:
    grad, x, *weights = ctx.saved_tensors
    # any biases will do: their gradients do not depend on them
    biases = [weight.new_zeros(len(weight)) for weight in weights if ctx.biased]

    def law(x: Tensor, *others: Tensor) -> Tensor:
        return reference(x, others[:3], others[3:])

    second = second_backward(law, grad, (x, *weights, *biases), found)
    return *second[:2], list(second[2:5]), None


mix_backward.register_autograd(_second_backward, setup_context=_keep_all)
