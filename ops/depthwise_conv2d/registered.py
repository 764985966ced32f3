"""The Triton kernels as PyTorch operators, so that they differentiate and compile; which of them takes what.

Maps in channels_last whose channels are a multiple of 8 slide through registers, if a side of the kernel has at most
11 taps. All others are multiplied by Toeplitz matrices, contiguous, if need be after a copy, which costs little beside
a large kernel. The output has the layout of x.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ops.dispatch import DEVICES

LARGEST, LONGEST = 61, 11
"""Taps of a side that kernels take, and that slide."""
FARTHEST = 1024
"""Dilation up to which the places of taps are computed exactly."""
Gradients = tuple[Tensor, Tensor, Tensor]


def autocast(x: Tensor, *others: Tensor | None) -> tuple[Any, ...]:
    """Return tensors of a GPU in the dtype that PyTorch's convolution would take them in under autocast."""
    kind = x.device.type
    if kind not in DEVICES or not torch.is_autocast_enabled(kind) or x.dtype == torch.float64:
        return x, *others
    return tuple(None if t is None else t.to(torch.get_autocast_dtype(kind)) for t in (x, *others))


def takes(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, stride: int) -> bool:
    """Whether there is a kernel for these: not for strides, where PyTorch's own is bound by memory too."""
    same = x.dtype == weight.dtype and (bias is None or bias.dtype == x.dtype)
    sides = max(weight.shape[2:]) <= LARGEST and dilation <= FARTHEST
    return stride == 1 and same and sides and x.numel() > 0


def slides(x: Tensor, tall: int, wide: int) -> bool:
    """Whether columns slide through registers."""
    return is_last(x) and x.shape[1] % 8 == 0 and min(tall, wide) <= LONGEST


def is_last(x: Tensor) -> bool:
    """Whether the channels of a position lie side by side, and its columns do not."""
    return x.stride(1) == 1 and x.stride(3) != 1 and x.shape[1] > 1


def like(x: Tensor) -> Tensor:
    """Return room for a map in the layout of x."""
    layout = torch.channels_last if is_last(x) else torch.contiguous_format
    return torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=layout)


def in_layout(found: Tensor, x: Tensor) -> Tensor:
    """Return a contiguous map in the layout of x."""
    return like(x).copy_(found) if is_last(x) else found


@torch.library.custom_op("nas_ops::depthwise_conv2d_triton", mutates_args=(), device_types=DEVICES)
def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    """Convolve as the reference does, at stride 1."""
    return _convolved(x, weight, bias, dilation, back=False)


@torch.library.custom_op("nas_ops::depthwise_conv2d_triton_backward", mutates_args=(), device_types=DEVICES)
def convolve_backward(
    grad: Tensor, x: Tensor, weight: Tensor, dilation: int, of_x: bool, of_weight: bool, of_bias: bool
) -> Gradients:
    """Return the gradients of x, weight and bias; without elements where they are not asked for."""
    d_x = _convolved(in_layout_of(grad, x), weight, None, dilation, back=True) if of_x else x.new_empty(0)
    if not (of_weight or of_bias):
        return d_x, weight.new_empty(0), weight.new_empty(0)
    d_weight, d_bias = weight_gradient(grad, x, weight.shape[2], weight.shape[3], dilation)
    nothing = weight.new_empty(0)
    return d_x, d_weight.to(weight.dtype) if of_weight else nothing, d_bias.to(weight.dtype) if of_bias else nothing


def _convolved(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, *, back: bool) -> Tensor:
    from ops.depthwise_conv2d import kernel_slide, kernel_toeplitz

    if slides(x, *weight.shape[2:]):
        return kernel_slide.forward(x, weight, bias, dilation, back=back)
    return in_layout(kernel_toeplitz.forward(x, weight, bias, dilation, back=back), x)


def weight_gradient(grad: Tensor, x: Tensor, tall: int, wide: int, dilation: int) -> tuple[Tensor, Tensor]:
    """Return the gradients of the kernel and of the bias in float32."""
    from ops.depthwise_conv2d import kernel_slide, kernel_toeplitz

    chosen = kernel_slide if slides(x, tall, wide) else kernel_toeplitz
    return chosen.weight_gradient(grad, x, tall, wide, dilation)


def in_layout_of(grad: Tensor, x: Tensor) -> Tensor:
    """Return an output's gradient in the layout of the output."""
    return grad.contiguous(memory_format=torch.channels_last if is_last(x) else torch.contiguous_format)


@convolve.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    del weight, bias, dilation
    return like(x)


@convolve_backward.register_fake
def _(grad: Tensor, x: Tensor, weight: Tensor, dilation: int, of_x: bool, of_weight: bool, of_bias: bool) -> Gradients:
    del grad, dilation
    d_weight = weight.new_empty(weight.shape if of_weight else 0)
    return like(x) if of_x else x.new_empty(0), d_weight, weight.new_empty(len(weight) if of_bias else 0)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    del output
    x, weight, _, ctx.dilation = inputs
    ctx.save_for_backward(x, weight)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    wanted = ctx.needs_input_grad[:3]
    found = convolve_backward(grad, *ctx.saved_tensors, ctx.dilation, *wanted)
    return *(each if want else None for each, want in zip(found, wanted, strict=True)), None


convolve.register_autograd(_backward, setup_context=_keep)


def _keep_all(ctx: Any, inputs: tuple[Any, ...], output: Gradients) -> None:
    del output
    grad, x, weight, ctx.dilation, *ctx.wanted = inputs
    ctx.save_for_backward(grad, x, weight)


def _second_backward(ctx: Any, of_x: Tensor, of_weight: Tensor, of_bias: Tensor) -> tuple[Tensor | None, ...]:
    """Differentiate the gradients: they are linear in the output's gradient and in x or the kernel each."""
    (grad, x, weight), dilation = ctx.saved_tensors, ctx.dilation
    to_grad, to_x, to_weight = ctx.needs_input_grad[:3]
    through_x, through_weight, through_bias = ctx.wanted
    parts: list[Tensor] = []
    if to_grad and through_x:
        parts.append(convolve(of_x, weight, None, dilation))
    if to_grad and through_weight:
        parts.append(convolve(x, of_weight, None, dilation))
    if to_grad and through_bias:
        parts.append(of_bias.view(-1, 1, 1).expand_as(grad))
    d_x = convolve_backward(grad, x, of_weight, dilation, True, False, False)[0] if to_x and through_weight else None
    d_weight = None
    if to_weight and through_x:
        d_weight = convolve_backward(grad, of_x, weight, dilation, False, True, False)[1]
    return sum(parts[1:], parts[0]) if parts else None, d_x, d_weight, None, None, None, None


convolve_backward.register_autograd(_second_backward, setup_context=_keep_all)
