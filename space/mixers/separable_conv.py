"""Inverted separable convolution as token mixer (ConvFormer)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from space.activations import Activation, activation, activation_params
from space.cost import Cost, Size, convolution, linear
from space.families import TokenMixer
from space.layers import Conv2d, OddKernel, Pointwise, Ratio, share


class SeparableConvolution(nn.Module):
    """Widen, activate, convolve each channel, narrow; no biases. [N, C, H, W] -> the same."""

    def __init__(self, width: int, hidden: int, kernel_size: int, act: nn.Module) -> None:
        super().__init__()
        self.pointwise1 = Pointwise(width, hidden, bias=False)
        self.act = act
        self.depthwise = Conv2d(hidden, hidden, kernel_size, padding=kernel_size // 2, groups=hidden, bias=False)
        self.pointwise2 = Pointwise(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Mix positions within each hidden channel."""
        return self.pointwise2(self.depthwise(self.act(self.pointwise1(x))))


class SeparableConv(TokenMixer):
    """Pointwise, depthwise, pointwise convolution (arXiv:1801.04381; ConvFormer, arXiv:2210.13452)."""

    kind: Literal["separable_conv"] = "separable_conv"
    ratio: Ratio = 2.0
    """Hidden width over width."""
    kernel_size: OddKernel = 7
    act: Activation = "star_relu"

    def build(self, width: int) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, width, H, W]."""
        return SeparableConvolution(width, share(width, self.ratio), self.kernel_size, activation(self.act))

    def cost(self, width: int, size: Size) -> Cost:
        """Return the cost on a map of `size`."""
        hidden, positions = share(width, self.ratio), size[0] * size[1]
        pointwise = linear(width, hidden, positions, bias=False) + linear(hidden, width, positions, bias=False)
        depthwise = convolution(hidden, hidden, self.kernel_size, size, groups=hidden, bias=False)
        return pointwise + depthwise + Cost(activation_params(self.act))
