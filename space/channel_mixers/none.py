"""No channel mixer: a block that is one residual branch (VMamba's first networks, Mamba)."""

from __future__ import annotations

from typing import Literal

from torch import nn

from space.cost import Cost, Size
from space.families import ChannelMixer


class NoChannelMixer(ChannelMixer):
    """Nothing; a metaformer block then has no second branch at all, neither its norm nor its scales.

    So are the blocks of Mamba (arXiv:2312.00752, fig. 3) and of VMamba's first networks, whose token mixer mixes
    channels too.
    """

    kind: Literal["none"] = "none"

    def build(self, width: int) -> nn.Module:
        """Return the identity."""
        return nn.Identity()

    def cost(self, width: int, size: Size) -> Cost:
        """Return nothing."""
        return Cost()
