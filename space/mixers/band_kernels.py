"""A very large kernel as two bands that cross, trained beside a small square one (SLaK)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from space.cost import Cost, Size, convolution
from space.families import TokenMixer
from space.layers import OddKernel
from space.merging import (
    Absorbing,
    DepthwiseNorm,
    Mergeable,
    MergedDepthwise,
    branches_added,
    merged_depthwise,
)


class BandKernels(Mergeable):
    """Add up the convolutions of an upright band, a lying band and a square, each with its norm.

    [N, C, H, W] -> the same.
    """

    def __init__(self, width: int, kernel_size: int, short: int) -> None:
        super().__init__()
        self.upright = DepthwiseNorm(width, (kernel_size, short))
        self.lying = DepthwiseNorm(width, (short, kernel_size))
        self.square = DepthwiseNorm(width, (short, short)) if short < kernel_size else None

    def forward(self, x: Tensor) -> Tensor:
        """Mix positions within each channel."""
        square = [] if self.square is None else [self.square]
        return branches_added(x, self.upright, self.lying, *square)

    def merged(self) -> nn.Module:
        """Return the two bands alone: the square lies within the upright one."""
        upright = [self.upright] if self.square is None else [self.upright, self.square]
        with torch.device("meta"):
            out = MergedBands(self.lying.conv.out_channels, *self.upright.kernel_size)
        out.upright = merged_depthwise(upright, self.upright.kernel_size)
        out.lying = merged_depthwise([self.lying], self.lying.kernel_size)
        return out


class MergedBands(Absorbing):
    """Add up the convolutions of an upright and a lying band, with biases. [N, C, H, W] -> the same."""

    def __init__(self, width: int, kernel_size: int, short: int) -> None:
        super().__init__()
        self.upright = MergedDepthwise(width, (kernel_size, short))
        self.lying = MergedDepthwise(width, (short, kernel_size))

    def forward(self, x: Tensor) -> Tensor:
        """Mix positions within each channel."""
        return self.upright(x) + self.lying(x)

    def absorb(self, scale: Tensor, shift: Tensor) -> None:
        """Scale both bands, shift their sum."""
        self.upright.absorb(scale, shift)
        self.lying.absorb(scale, shift.new_zeros(shift.shape))


class Bands(TokenMixer):
    """Two depthwise bands that cross and a small square (SLaK, arXiv:2207.03620, sec. 3).

    They stand for one kernel of `kernel_size` squared. Each has its own batch normalisation; after training the square
    merges into a band and the norms into both.
    """

    kind: Literal["band_kernels"] = "band_kernels"
    kernel_size: OddKernel = 51
    """Length of the bands in pixels, odd."""
    short: OddKernel = 5
    """Breadth of the bands and side of the square in pixels, odd; no square where the bands are no longer than that."""
    fused: bool = False
    """The form after training: two bands with biases."""

    def build(self, width: int) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, width, H, W]."""
        return (MergedBands if self.fused else BandKernels)(width, self.kernel_size, self.short)

    def cost(self, width: int, size: Size) -> Cost:
        """Return the cost on a map of `size`."""
        total = Cost() if self.fused else Cost(4 * width)
        for kernel in ((self.kernel_size, self.short), (self.short, self.kernel_size)):
            total += convolution(width, width, kernel, size, groups=width, bias=self.fused)
        if self.short < self.kernel_size and not self.fused:
            total += convolution(width, width, self.short, size, groups=width, bias=False) + Cost(2 * width)
        return total

    def merged(self) -> TokenMixer:
        """Return the form after training."""
        return self.model_copy(update={"fused": True})

    def absorbing(self) -> TokenMixer | None:
        """Return the form after training; before, the norms leave no place."""
        return self if self.fused else None
