"""Two linear layers with an activation between (transformers, MetaFormer, ConvNeXt)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from space.activations import Activation, activation, activation_params
from space.cost import Cost, Size, linear
from space.families import ChannelMixer
from space.layers import Pointwise, Ratio, share


class PositionwiseMlp(nn.Module):
    """Widen the channels of each position, activate, narrow. [N, C, H, W] -> the same."""

    def __init__(self, width: int, hidden: int, act: nn.Module, *, bias: bool) -> None:
        super().__init__()
        self.fc1 = Pointwise(width, hidden, bias=bias)
        self.act = act
        self.fc2 = Pointwise(hidden, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Mix the channels of each position."""
        return self.fc2(self.act(self.fc1(x)))


class Mlp(ChannelMixer):
    """Two linear layers and an activation at each position (arXiv:1706.03762, sec. 3.3; arXiv:2111.11418)."""

    kind: Literal["mlp"] = "mlp"
    ratio: Ratio = 4.0
    """Hidden width over width."""
    act: Activation = "gelu"
    bias: bool = True

    def build(self, width: int) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, width, H, W]."""
        return PositionwiseMlp(width, share(width, self.ratio), activation(self.act), bias=self.bias)

    def cost(self, width: int, size: Size) -> Cost:
        """Return the cost on a map of `size`."""
        hidden, positions = share(width, self.ratio), size[0] * size[1]
        layers = linear(width, hidden, positions, bias=self.bias) + linear(hidden, width, positions, bias=self.bias)
        return layers + Cost(activation_params(self.act))
