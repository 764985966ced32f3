"""The context's source as its own gate (VAN)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from ops import gated_product
from space.cost import Cost, Size
from space.families import Gate


class IdentityProduct(nn.Module):
    """Multiply the context by the map it was taken from."""

    def forward(self, gate: Tensor, source: Tensor, context: Tensor) -> Tensor:
        """Multiply; all [N, C, H, W], `gate` has no channels."""
        return gated_product(source, context)


class IdentityGate(Gate):
    """The map times its context, so that the context attends to it (VAN, arXiv:2202.09741, eq. 3)."""

    kind: Literal["identity"] = "identity"

    def widths(self, width: int) -> tuple[int, int]:
        """Return 0 channels for the gate, `width` for the context."""
        return 0, width

    def build(self, width: int) -> nn.Module:
        """Return a module (gate, source, context) -> [N, width, H, W]."""
        return IdentityProduct()

    def cost(self, width: int, size: Size) -> Cost:
        """Return nothing."""
        return Cost()
