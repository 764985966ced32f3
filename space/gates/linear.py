"""A gate projected from the mixer's input (FocalNet; with SiLU VMamba's and Mamba's)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from ops import gated_product
from space.activations import GateActivation
from space.cost import Cost, Size
from space.families import Gate


class ActivatedProduct(nn.Module):
    """Multiply the context by the activated gate."""

    def __init__(self, act: GateActivation) -> None:
        super().__init__()
        self.act: GateActivation = act

    def forward(self, gate: Tensor, source: Tensor, context: Tensor) -> Tensor:
        """Multiply; all [N, C, H, W], `source` is not looked at."""
        return gated_product(gate, context, act=self.act)

    def extra_repr(self) -> str:
        """Name the activation."""
        return self.act


class LinearGate(Gate):
    """A projection of the mixer's input times the context: FocalNet's query (arXiv:2203.11926, eq. 4)."""

    kind: Literal["linear"] = "linear"
    act: GateActivation = "identity"
    """What the gate passes through; silu gives the gate of Mamba (arXiv:2312.00752, fig. 3)."""

    def widths(self, width: int) -> tuple[int, int]:
        """Return `width` channels for the gate and for the context."""
        return width, width

    def build(self, width: int) -> nn.Module:
        """Return a module (gate, source, context) -> [N, width, H, W]."""
        return ActivatedProduct(self.act)

    def cost(self, width: int, size: Size) -> Cost:
        """Return nothing: the mixer's input projection writes the gate."""
        return Cost()
