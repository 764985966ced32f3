"""An MLP whose hidden channels compete by global response normalisation (ConvNeXt V2)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from space.activations import Activation, activation, activation_params
from space.cost import Cost, Size, linear
from space.families import ChannelMixer
from space.layers import Grn, Pointwise, Ratio, share


class PositionwiseGrnMlp(nn.Module):
    """Widen the channels, activate, let them compete over the map, narrow. [N, C, H, W] -> the same."""

    def __init__(self, width: int, hidden: int, act: nn.Module) -> None:
        super().__init__()
        self.fc1 = Pointwise(width, hidden)
        self.act = act
        self.grn = Grn(hidden)
        self.fc2 = Pointwise(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Mix the channels."""
        return self.fc2(self.grn(self.act(self.fc1(x))))


class GrnMlp(ChannelMixer):
    """MLP with global response normalisation after the activation (ConvNeXt V2, arXiv:2301.00808)."""

    kind: Literal["grn_mlp"] = "grn_mlp"
    ratio: Ratio = 4.0
    """Hidden width over width."""
    act: Activation = "gelu"

    def build(self, width: int) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, width, H, W]."""
        return PositionwiseGrnMlp(width, share(width, self.ratio), activation(self.act))

    def cost(self, width: int, size: Size) -> Cost:
        """Return the cost on a map of `size`."""
        hidden, positions = share(width, self.ratio), size[0] * size[1]
        layers = linear(width, hidden, positions) + linear(hidden, width, positions)
        return layers + Cost(2 * hidden + activation_params(self.act))
