"""No token mixing (IdentityFormer)."""

from __future__ import annotations

from typing import Literal

from torch import nn

from space.cost import Cost, Size
from space.families import TokenMixer


class Identity(TokenMixer):
    """No token mixing at all (IdentityFormer, arXiv:2210.13452)."""

    kind: Literal["identity"] = "identity"

    def build(self, width: int) -> nn.Module:
        """Return the identity."""
        return nn.Identity()

    def cost(self, width: int, size: Size) -> Cost:
        """Return nothing."""
        return Cost()
