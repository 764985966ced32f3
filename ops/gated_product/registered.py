"""The kernels as PyTorch operators, so that they differentiate and compile; what they return, by shape and strides."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from ops.dispatch import DEVICES
from ops.double_backward import second_backward
from ops.gated_product.reference import Activation, reference
from ops.layout import extent, room


def takes(gate: Tensor, value: Tensor) -> bool:
    """Whether there is a kernel for maps of these shapes: its offsets are numbers of 32 bits."""
    return gate.numel() > 0 and max(extent(gate), extent(value)) < 1 << 31 and gate.dtype == value.dtype


@torch.library.custom_op("nas_ops::gated_product", mutates_args=(), device_types=DEVICES)
def multiply(gate: Tensor, value: Tensor, act: str, value_act: str, scale: float) -> Tensor:
    """Multiply as the reference does; on a GPU, what `takes` allows."""
    from ops.gated_product.kernel import forward

    return forward(gate, value, act, value_act, scale)


@torch.library.custom_op("nas_ops::gated_product_backward", mutates_args=(), device_types=DEVICES)
def multiply_backward(
    grad: Tensor, gate: Tensor, value: Tensor, act: str, value_act: str, scale: float
) -> tuple[Tensor, Tensor]:
    """Return the gradients of both factors."""
    from ops.gated_product.kernel import backward

    return backward(grad, gate, value, act, value_act, scale)


@multiply.register_fake
def _(gate: Tensor, value: Tensor, act: str, value_act: str, scale: float) -> Tensor:
    del value, act, value_act, scale
    return room(gate)


@multiply_backward.register_fake
def _(grad: Tensor, gate: Tensor, value: Tensor, act: str, value_act: str, scale: float) -> tuple[Tensor, Tensor]:
    del grad, value, act, value_act, scale
    return room(gate), room(gate)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    del output
    gate, value, *ctx.options = inputs
    ctx.save_for_backward(gate, value)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    gate, value = ctx.saved_tensors
    return *multiply_backward(grad, gate, value, *ctx.options), None, None, None


multiply.register_autograd(_backward, setup_context=_keep)


def _keep_all(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    del output
    grad, gate, value, *ctx.options = inputs
    ctx.save_for_backward(grad, gate, value)


def _second_backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
    act, value_act, scale = ctx.options

    def law(gate: Tensor, value: Tensor) -> Tensor:
        return reference(gate, value, cast("Activation", act), cast("Activation", value_act), scale)

    grad, *inputs = ctx.saved_tensors
    return *second_backward(law, grad, inputs, grads), None, None, None


multiply_backward.register_autograd(_second_backward, setup_context=_keep_all)
