"""Depthwise convolution as token mixer, of all channels or a part of them."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ops import depthwise_conv2d
from space.cost import Cost, Size, convolution
from space.families import TokenMixer
from space.layers import Conv2d, OddKernel, share
from space.merging import Absorbing, absorb_into


class SoftmaxConv2d(Conv2d):
    """A depthwise convolution that keeps height and width, by kernels whose taps are softmaxed: positive, sum 1."""

    def forward(self, input: Tensor) -> Tensor:
        """Convolve."""
        weight = self.weight.flatten(1).softmax(1).view_as(self.weight)
        return depthwise_conv2d(input, weight, self.bias)


class PartialDepthwise(Absorbing):
    """Convolve each of the last `mixed` channels with its own kernel, pass the first. [N, C, H, W] -> the same."""

    def __init__(self, width: int, mixed: int, kernel_size: int, *, bias: bool, softmax: bool = False) -> None:
        super().__init__()
        self.passed = width - mixed
        conv = SoftmaxConv2d if softmax else Conv2d
        self.conv = conv(mixed, mixed, kernel_size, padding=kernel_size // 2, groups=mixed, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Mix positions within each convolved channel."""
        if self.passed == 0:
            return self.conv(x)
        return torch.cat((x[:, : self.passed], self.conv(x[:, self.passed :])), dim=1)

    def absorb(self, scale: Tensor, shift: Tensor) -> None:
        """Scale and shift what the convolution writes; only for one of all channels."""
        absorb_into(self.conv, scale, shift)


class DepthwiseConv(TokenMixer):
    """One depthwise convolution (ConvNeXt, arXiv:2201.03545, sec. 2.5), or of a part (arXiv:2303.16900)."""

    kind: Literal["depthwise_conv"] = "depthwise_conv"
    kernel_size: OddKernel = 7
    """Side in pixels, odd."""
    ratio: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the channels that is convolved: the last ones, rounded down, at least one."""
    bias: bool = True
    softmax: bool = False
    """Softmax over the taps of each kernel, by which DCNv4 (arXiv:2401.06197) shows what that does to a convolution."""

    def build(self, width: int) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, width, H, W]."""
        return PartialDepthwise(width, share(width, self.ratio), self.kernel_size, bias=self.bias, softmax=self.softmax)

    def cost(self, width: int, size: Size) -> Cost:
        """Return the cost on a map of `size`."""
        mixed = share(width, self.ratio)
        return convolution(mixed, mixed, self.kernel_size, size, groups=mixed, bias=self.bias)

    def absorbing(self) -> TokenMixer | None:
        """Return the convolution with a bias; a part of the channels that is passed on or softmax leave no place."""
        return self.model_copy(update={"bias": True}) if self.ratio == 1 and not self.softmax else None
