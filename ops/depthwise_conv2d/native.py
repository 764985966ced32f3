"""The same function by the native library, registered with PyTorch so that it differentiates, compiles and exports.

A vector holds as many channels as the processor's vectors have lanes. Forward pass and both gradients are one product,
`correlation.h`, which keeps a tile of places in registers; the gradients of all three inputs are one call.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ops.native import call

Gradients = tuple[Tensor, Tensor, Tensor]


@torch.library.custom_op("nas_ops::depthwise_conv2d", mutates_args=(), device_types="cpu")
def native(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, stride: int) -> Tensor:
    """Convolve as the reference does; float32 on a CPU, stride or dilation 1."""
    x, out = _laid(x), _out(x, dilation, stride)
    bias = None if bias is None else bias.contiguous()
    call("depthwise_forward", _sizes(x, weight, dilation, stride, x, out, x), x, weight.contiguous(), bias, out)
    return out


@torch.library.custom_op("nas_ops::depthwise_conv2d_backward", mutates_args=(), device_types="cpu")
def native_backward(
    grad: Tensor, x: Tensor, weight: Tensor, dilation: int, stride: int, of_x: bool, of_weight: bool, of_bias: bool
) -> Gradients:
    """Return the gradients of x, weight and bias; without elements where they are not asked for."""
    found = _gradients(x, weight, of_x, of_weight, of_bias)
    x, d_x, d_weight, d_bias = _laid(x), *found
    grad = _laid(grad)
    call(
        "depthwise_backward", _sizes(x, weight, dilation, stride, x, grad, d_x if of_x else x), grad, x,
        weight.contiguous(), d_x if of_x else None, d_weight if of_weight else None, d_bias if of_bias else None,
    )  # fmt: skip
    return found


def _laid(x: Tensor) -> Tensor:
    """Return x with columns or channels side by side."""
    return x if x.stride(1) == 1 or x.stride(3) == 1 else x.contiguous(memory_format=torch.channels_last)


def _format(x: Tensor) -> torch.memory_format:
    last = not x.is_contiguous() and (x.stride(1) == 1 or x.stride(3) != 1)
    return torch.channels_last if last else torch.contiguous_format


def _out(x: Tensor, dilation: int, stride: int) -> Tensor:
    size = (*x.shape[:2], (x.shape[2] - 1) // stride + 1, (x.shape[3] - 1) // stride + 1)
    return torch.empty(size, dtype=x.dtype, device=x.device, memory_format=_format(x))


def _gradients(x: Tensor, weight: Tensor, of_x: bool, of_weight: bool, of_bias: bool) -> Gradients:
    d_x = torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=_format(x)) if of_x else x.new_empty(0)
    d_weight = weight.new_zeros(weight.shape) if of_weight else weight.new_empty(0)
    return d_x, d_weight, weight.new_empty(len(weight) if of_bias else 0)


def _sizes(x: Tensor, weight: Tensor, dilation: int, stride: int, *laid: Tensor) -> list[int]:
    """Sizes and strides in the order of `Sizes` in depthwise.cpp."""
    sizes = [*x.shape, *weight.shape[2:], stride, dilation, torch.get_num_threads()]
    for tensor in laid:
        sizes += tensor.stride()
    return sizes


@native.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, stride: int) -> Tensor:
    del weight, bias
    return _out(x, dilation, stride)


@native_backward.register_fake
def _(
    grad: Tensor, x: Tensor, weight: Tensor, dilation: int, stride: int, of_x: bool, of_weight: bool, of_bias: bool
) -> Gradients:
    del grad, dilation, stride
    return _gradients(x, weight, of_x, of_weight, of_bias)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    del output
    x, weight, _, *ctx.options = inputs
    ctx.save_for_backward(x, weight)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    wanted = ctx.needs_input_grad[:3]
    found = native_backward(grad, *ctx.saved_tensors, *ctx.options, *wanted)
    return *(each if want else None for each, want in zip(found, wanted, strict=True)), None, None


native.register_autograd(_backward, setup_context=_keep)


def _keep_all(ctx: Any, inputs: tuple[Any, ...], output: Gradients) -> None:
    del output
    grad, x, weight, ctx.dilation, ctx.stride, *ctx.wanted = inputs
    ctx.save_for_backward(grad, x, weight)


def _second_backward(ctx: Any, of_x: Tensor, of_weight: Tensor, of_bias: Tensor) -> tuple[Tensor | None, ...]:
    """Differentiate the gradients: they are linear in the output's gradient and in x or the kernel each."""
    (grad, x, weight), sizes = ctx.saved_tensors, (ctx.dilation, ctx.stride)
    to_grad, to_x, to_weight = ctx.needs_input_grad[:3]
    through_x, through_weight, through_bias = ctx.wanted
    parts: list[Tensor] = []
    if to_grad and through_x:
        parts.append(native(of_x, weight, None, *sizes))
    if to_grad and through_weight:
        parts.append(native(x, of_weight, None, *sizes))
    if to_grad and through_bias:
        parts.append(of_bias.view(-1, 1, 1).expand_as(grad))
    d_x = native_backward(grad, x, of_weight, *sizes, True, False, False)[0] if to_x and through_weight else None
    d_weight = native_backward(grad, of_x, weight, *sizes, False, True, False)[1] if to_weight and through_x else None
    return sum(parts[1:], parts[0]) if parts else None, d_x, d_weight, None, None, None, None, None


native_backward.register_autograd(_second_backward, setup_context=_keep_all)
