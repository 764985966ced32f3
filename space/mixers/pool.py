"""Average pooling as token mixer (PoolFormer)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from space.cost import Cost, Size
from space.families import TokenMixer
from space.layers import OddKernel


class PoolLessInput(nn.Module):
    """The average of each position's neighbourhood less the position itself. [N, C, H, W] -> the same."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(size, stride=1, padding=size // 2, count_include_pad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Average, less the input."""
        return self.pool(x) - x


class Pool(TokenMixer):
    """Average pooling less the input, which the shortcut adds back (PoolFormer, arXiv:2111.11418, eq. 4)."""

    kind: Literal["pool"] = "pool"
    size: OddKernel = 3
    """Side of the neighbourhood in pixels, odd; only pixels inside the map are averaged."""

    def build(self, width: int) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, width, H, W]."""
        return PoolLessInput(self.size)

    def cost(self, width: int, size: Size) -> Cost:
        """Return nothing: pooling has no parameters and counts no MACs."""
        return Cost()
