"""Gated linear units as channel mixer (SwiGLU, GEGLU and their kin)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from ops import gated_product
from space.activations import GateActivation
from space.cost import Cost, Size, linear
from space.families import ChannelMixer
from space.layers import Pointwise, Ratio, share


class PositionwiseGlu(nn.Module):
    """Widen twice, multiply one half by the activated other, narrow. [N, C, H, W] -> the same.

    `fc1` writes the gate first, then the values.
    """

    def __init__(self, width: int, hidden: int, act: GateActivation, *, bias: bool) -> None:
        super().__init__()
        self.fc1 = Pointwise(width, 2 * hidden, bias=bias)
        self.act: GateActivation = act
        self.fc2 = Pointwise(hidden, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Mix the channels of each position."""
        gate, value = self.fc1(x).chunk(2, dim=1)
        return self.fc2(gated_product(gate, value, act=self.act))

    def extra_repr(self) -> str:
        """Name the activation."""
        return self.act


class Glu(ChannelMixer):
    """Gated linear unit (GLU variants, arXiv:2002.05202, eq. 5-6).

    By `act`: sigmoid GLU, identity Bilinear, relu ReGLU, gelu GEGLU, silu SwiGLU. At the ratio 8/3 it has the
    parameters of an MLP of ratio 4 (sec. 2 there).
    """

    kind: Literal["glu"] = "glu"
    ratio: Ratio = 8 / 3
    """Hidden width over width."""
    act: GateActivation = "silu"
    """What the gate passes through."""
    bias: bool = True

    def build(self, width: int) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, width, H, W]."""
        return PositionwiseGlu(width, share(width, self.ratio), self.act, bias=self.bias)

    def cost(self, width: int, size: Size) -> Cost:
        """Return the cost on a map of `size`."""
        hidden, positions = share(width, self.ratio), size[0] * size[1]
        return linear(width, 2 * hidden, positions, bias=self.bias) + linear(hidden, width, positions, bias=self.bias)
