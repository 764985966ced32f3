"""SiLU on both sides: a gate projected from the context's source, and the context itself (MogaNet)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from ops import gated_product
from space.cost import Cost, Size, linear
from space.families import Gate
from space.layers import Pointwise


class SiluProduct(nn.Module):
    """Multiply the activated context by the activated projection of its source."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project = Pointwise(width, width, convolution=True)

    def forward(self, gate: Tensor, source: Tensor, context: Tensor) -> Tensor:
        """Multiply; all [N, C, H, W], `gate` has no channels."""
        return gated_product(self.project(source), context, act="silu", value_act="silu")


class SiluGate(Gate):
    """silu(projected source) * silu(context), gated aggregation (MogaNet, arXiv:2211.03295, eq. 5)."""

    kind: Literal["silu"] = "silu"

    def widths(self, width: int) -> tuple[int, int]:
        """Return 0 channels for the gate, `width` for the context."""
        return 0, width

    def build(self, width: int) -> nn.Module:
        """Return a module (gate, source, context) -> [N, width, H, W]."""
        return SiluProduct(width)

    def cost(self, width: int, size: Size) -> Cost:
        """Return the cost of the projection on a map of `size`."""
        return linear(width, width, size[0] * size[1])
