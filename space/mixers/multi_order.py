"""Depthwise convolutions of growing reach over parts of the channels (MogaNet)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from space.cost import Cost, Size, convolution
from space.families import TokenMixer
from space.layers import Conv2d, share


class MultiOrderKernels(nn.Module):
    """Convolve all channels, then one part with a wider, one with the widest kernel. [N, C, H, W] -> the same."""

    def __init__(self, split: tuple[int, int, int]) -> None:
        super().__init__()
        self.split = list(split)
        _, middle, high = split
        width = sum(split)
        self.low = Conv2d(width, width, 5, padding=2, groups=width)
        self.middle = Conv2d(middle, middle, 5, padding=4, dilation=2, groups=middle)
        self.high = Conv2d(high, high, 7, padding=9, dilation=3, groups=high)

    def forward(self, x: Tensor) -> Tensor:
        """Mix positions within each channel."""
        low, middle, high = torch.split(self.low(x), self.split, dim=1)
        return torch.cat((low, self.middle(middle), self.high(high)), dim=1)


class MultiOrder(TokenMixer):
    """Multi-order context: kernels of 5, then of 5 at dilation 2 and of 7 at 3 (MogaNet, arXiv:2211.03295, sec. 4.2).

    An eighth of the channels stays at the first, 3/8 (rounded down) pass the second, half (rounded down) the third.
    MogaNet's mixer is this context in a `gated` one with `mix_context` and the gate `silu`.
    """

    kind: Literal["multi_order"] = "multi_order"

    def _split(self, width: int) -> tuple[int, int, int]:
        middle, high = share(width, 3 / 8), share(width, 1 / 2)
        return width - middle - high, middle, high

    def build(self, width: int) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, width, H, W]; width at least 3."""
        return MultiOrderKernels(self._split(width))

    def cost(self, width: int, size: Size) -> Cost:
        """Return the cost on a map of `size`."""
        _, middle, high = self._split(width)
        total = convolution(width, width, 5, size, groups=width)
        total += convolution(middle, middle, 5, size, groups=middle)
        return total + convolution(high, high, 7, size, groups=high)
