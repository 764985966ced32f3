"""Normalisations of a feature map, all members of the family."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import nn

from space.cost import Cost
from space.families import Norm
from space.layers import LayerNorm2d, MapNorm, RmsNorm2d

Eps = Annotated[float, Field(gt=0, le=1)]
"""Added to the variance before its square root."""


class LayerNorm(Norm):
    """Layer normalisation over the channels of each position (arXiv:1607.06450; ConvNeXt, arXiv:2201.03545)."""

    kind: Literal["layer_norm"] = "layer_norm"
    eps: Eps = 1e-6
    bias: bool = True
    """Learnable shift beside the learnable scale."""

    def build(self, width: int) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, width, H, W]."""
        return LayerNorm2d(width, self.eps, bias=self.bias)

    def cost(self, width: int) -> Cost:
        """Return its parameters."""
        return Cost(width * (1 + self.bias))


class RmsNorm(Norm):
    """Root-mean-square normalisation over the channels of each position: no mean, no shift (arXiv:1910.07467)."""

    kind: Literal["rms_norm"] = "rms_norm"
    eps: Eps = 1e-5

    def build(self, width: int) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, width, H, W]."""
        return RmsNorm2d(width, self.eps)

    def cost(self, width: int) -> Cost:
        """Return its parameters."""
        return Cost(width)


class GroupNorm(Norm):
    """Group normalisation with one group: over channels, height and width together (PoolFormer, arXiv:2111.11418)."""

    kind: Literal["group_norm"] = "group_norm"
    eps: Eps = 1e-5
    bias: bool = True
    """Learnable shift beside the learnable scale."""

    def build(self, width: int) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, width, H, W]."""
        return MapNorm(width, self.eps, bias=self.bias)

    def cost(self, width: int) -> Cost:
        """Return its parameters."""
        return Cost(width * (1 + self.bias))


class BatchNorm(Norm):
    """Batch normalisation, by running statistics in eval mode (arXiv:1502.03167); training needs 2 values a channel."""

    kind: Literal["batch_norm"] = "batch_norm"
    eps: Eps = 1e-5

    def build(self, width: int) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, width, H, W]."""
        return nn.BatchNorm2d(width, self.eps)

    def cost(self, width: int) -> Cost:
        """Return its parameters."""
        return Cost(2 * width)


class NoNorm(Norm):
    """No normalisation."""

    kind: Literal["none"] = "none"

    def build(self, width: int) -> nn.Module:
        """Return the identity."""
        return nn.Identity()

    def cost(self, width: int) -> Cost:
        """Return nothing."""
        return Cost()
