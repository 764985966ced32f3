"""Depthwise convolution: each channel by its own kernel."""

from __future__ import annotations

import torch
from torch import Tensor

from ops.depthwise_conv2d.choice import way
from ops.depthwise_conv2d.native import native
from ops.depthwise_conv2d.reference import reference
from ops.depthwise_conv2d.registered import autocast, convolve
from ops.depthwise_conv2d.small_maps import small_maps
from ops.depthwise_conv2d.spectral import spectral
from ops.dispatch import Impl

__all__ = ["depthwise_conv2d"]


def depthwise_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    dilation: int = 1,
    stride: int = 1,
    impl: Impl | None = None,
) -> Tensor:
    """Convolve each channel with its own odd kernel; zeros lie beyond the border, half a kernel of them on each side.

    Shapes:  x [N, C, H, W], weight [C, 1, K, L], bias [C] -> [N, C, ceil(H / stride), ceil(W / stride)]; any strides,
             K and L odd.
    Units:   dilation in pixels between taps, stride in pixels between places.
    Dtypes:  those of PyTorch's convolution.
    Impl:    see `ops.dispatch`; without one the fastest for the shape. The Triton kernels take up to 61 taps a side at
             stride 1 and sum in float32; strides go to PyTorch, whose kernels are bound by memory there, too.
    Raises:  ValueError if a kernel is even, C differs, the dilation or stride is below 1, or `impl` cannot be had.
    Source:  large kernels on small maps as in RepLKNet, arXiv:2203.06717, sec. 3; implementation our own.
    """
    tall, wide = weight.shape[2:]
    width = x.shape[1]
    if not tall % 2 or not wide % 2 or weight.shape[:2] != (width, 1):
        raise ValueError(f"depthwise_conv2d: weight {tuple(weight.shape)}, allowed: ({width}, 1, odd, odd)")
    for name, number in (("dilation", dilation), ("stride", stride)):
        if number < 1:
            raise ValueError(f"depthwise_conv2d: {name} {number}, allowed: 1 or more")
    x, weight, bias = autocast(x, weight, bias)
    match way(x, weight, bias, dilation=dilation, stride=stride, asked=impl):
        case "native":
            return native(x, weight, bias, dilation, stride)
        case "triton":
            return convolve(x, weight, bias, dilation)
        case "small_maps":
            return small_maps(x, weight, bias, dilation)
        case "spectral":
            return spectral(x, weight, bias, dilation)
        case "spectral_gradient":
            return spectral(x, weight, bias, dilation, gradient_only=True)
        case "channels_last":
            return reference(x.contiguous(memory_format=torch.channels_last), weight, bias, dilation, stride)
        case _:
            return reference(x, weight, bias, dilation, stride)
