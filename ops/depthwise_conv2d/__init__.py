"""Depthwise convolution: each channel by its own kernel."""

from __future__ import annotations

from torch import Tensor

from ops.depthwise_conv2d.reference import reference
from ops.depthwise_conv2d.small_maps import pays, small_maps

__all__ = ["depthwise_conv2d"]


def depthwise_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, dilation: int = 1) -> Tensor:
    """Convolve each channel with its own odd kernel, keeping H and W; zeros lie beyond the border.

    Shapes:  x [N, C, H, W], weight [C, 1, K, L], bias [C] -> [N, C, H, W]; any strides, K and L odd.
    Units:   dilation in pixels between taps.
    Dtypes:  those of PyTorch's convolution.
    Raises:  ValueError if a kernel is even, C differs or the dilation is below 1.
    Source:  large kernels on small maps as in RepLKNet, arXiv:2203.06717, sec. 3; implementation our own.
    """
    tall, wide = weight.shape[2:]
    width = x.shape[1]
    if not tall % 2 or not wide % 2 or weight.shape[:2] != (width, 1):
        raise ValueError(f"depthwise_conv2d: weight {tuple(weight.shape)}, allowed: ({width}, 1, odd, odd)")
    if dilation < 1:
        raise ValueError(f"depthwise_conv2d: dilation {dilation}, allowed: 1 or more")
    return small_maps(x, weight, bias, dilation) if pays(x, weight) else reference(x, weight, bias, dilation)
