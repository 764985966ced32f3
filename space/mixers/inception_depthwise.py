"""Inception depthwise convolution as token mixer (InceptionNeXt)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from ops import inception_depthwise
from space.cost import Cost, Size, convolution
from space.families import TokenMixer
from space.layers import Conv2d, OddKernel, share


class InceptionDepthwise(nn.Module):
    """Pass most channels on, convolve three groups by a square, a horizontal band and a vertical band.

    [N, C, H, W] -> the same; the channels stand in that order.
    """

    def __init__(self, width: int, group: int, square: int, band: int) -> None:
        super().__init__()
        self.square = _depthwise(group, square, square)
        self.horizontal = _depthwise(group, 1, band)
        self.vertical = _depthwise(group, band, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Mix positions within each convolved channel."""
        convs = (self.square, self.horizontal, self.vertical)
        biases = [conv.bias for conv in convs if conv.bias is not None]
        return inception_depthwise(x, [conv.weight for conv in convs], biases)


def _depthwise(width: int, height: int, length: int) -> Conv2d:
    return Conv2d(width, width, (height, length), padding=(height // 2, length // 2), groups=width)


class Inception(TokenMixer):
    """Parallel small depthwise convolutions over a part of the channels (InceptionNeXt, arXiv:2303.16900)."""

    kind: Literal["inception_depthwise"] = "inception_depthwise"
    ratio: Annotated[float, Field(gt=0, le=1 / 3)] = 1 / 8
    """Share of the channels in each of the three groups, rounded down, at least one channel."""
    square: OddKernel = 3
    """Side of the square kernel in pixels, odd."""
    band: OddKernel = 11
    """Length of the band kernels in pixels, odd."""

    def build(self, width: int) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, width, H, W]; width at least 3."""
        return InceptionDepthwise(width, share(width, self.ratio), self.square, self.band)

    def cost(self, width: int, size: Size) -> Cost:
        """Return the cost on a map of `size`."""
        group = share(width, self.ratio)
        square = convolution(group, group, self.square, size, groups=group)
        return square + convolution(group, group, (1, self.band), size, groups=group) * 2
