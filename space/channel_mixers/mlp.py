"""Two linear layers with an activation between (transformers, MetaFormer, ConvNeXt; RepLKNet with norms)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from space.activations import Activation, activation, activation_params
from space.cost import Cost, Size, linear
from space.families import ChannelMixer, Norm
from space.layers import Pointwise, Ratio, share
from space.norms import NoNorm


class PositionwiseMlp(nn.Module):
    """Widen the channels of each position, activate, narrow. [N, C, H, W] -> the same."""

    def __init__(self, fc1: Pointwise, norm1: nn.Module, act: nn.Module, fc2: Pointwise, norm2: nn.Module) -> None:
        super().__init__()
        self.fc1 = fc1
        self.norm1 = norm1
        self.act = act
        self.fc2 = fc2
        self.norm2 = norm2

    def forward(self, x: Tensor) -> Tensor:
        """Mix the channels of each position."""
        return self.norm2(self.fc2(self.act(self.norm1(self.fc1(x)))))


class Mlp(ChannelMixer):
    """Two linear layers and an activation at each position (arXiv:1706.03762, sec. 3.3; arXiv:2111.11418)."""

    kind: Literal["mlp"] = "mlp"
    ratio: Ratio = 4.0
    """Hidden width over width."""
    act: Activation = "gelu"
    bias: bool = True
    norm: Norm = NoNorm()
    """The norm after each linear layer (RepLKNet's ConvFFN, arXiv:2203.06717, sec. 4.1)."""
    output_bias: bool = True
    """Bias of the last linear layer, where `bias` is on; the smaller FlashInternImages have none (arXiv:2401.06197)."""

    @property
    def _last_bias(self) -> bool:
        return self.bias and self.output_bias

    def build(self, width: int) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, width, H, W]."""
        hidden = share(width, self.ratio)
        fc1, fc2 = Pointwise(width, hidden, bias=self.bias), Pointwise(hidden, width, bias=self._last_bias)
        return PositionwiseMlp(fc1, self.norm.build(hidden), activation(self.act), fc2, self.norm.build(width))

    def cost(self, width: int, size: Size) -> Cost:
        """Return the cost on a map of `size`."""
        hidden, positions = share(width, self.ratio), size[0] * size[1]
        layers = linear(width, hidden, positions, bias=self.bias)
        layers += linear(hidden, width, positions, bias=self._last_bias)
        return layers + self.norm.cost(hidden) + self.norm.cost(width) + Cost(activation_params(self.act))
