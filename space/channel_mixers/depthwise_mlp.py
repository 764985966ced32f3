"""An MLP with a depthwise convolution between its layers (PVT v2, SegFormer, VAN; MogaNet re-weighs its channels)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from space.activations import Activation, activation, activation_params
from space.cost import Cost, Size, convolution, linear
from space.families import ChannelMixer
from space.layers import Conv2d, OddKernel, Pointwise, Ratio, share


class ChannelAggregation(nn.Module):
    """Add a learnable multiple, at first 1e-5, of each channel's difference to one map told from all channels.

    [N, C, H, W] -> the same (MogaNet, arXiv:2211.03295, eq. 6).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gather = Pointwise(width, 1, convolution=True)
        self.scale = nn.Parameter(torch.full((width,), 1e-5))

    def forward(self, x: Tensor) -> Tensor:
        """Stress what the channels do not have in common."""
        return x + self.scale[:, None, None] * (x - F.gelu(self.gather(x)))


class DepthwiseMlpLayers(nn.Module):
    """Widen the channels, convolve each, activate, narrow. [N, C, H, W] -> the same."""

    def __init__(self, width: int, hidden: int, kernel_size: int, act: nn.Module, *, aggregate: bool) -> None:
        super().__init__()
        self.fc1 = Pointwise(width, hidden)
        self.depthwise = Conv2d(hidden, hidden, kernel_size, padding=kernel_size // 2, groups=hidden)
        self.act = act
        self.aggregation = ChannelAggregation(hidden) if aggregate else nn.Identity()
        self.fc2 = Pointwise(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Mix the channels, with a look at near positions."""
        return self.fc2(self.aggregation(self.act(self.depthwise(self.fc1(x)))))


class DepthwiseMlp(ChannelMixer):
    """MLP with a depthwise convolution before its activation (PVT v2, arXiv:2106.13797; VAN, arXiv:2202.09741)."""

    kind: Literal["depthwise_mlp"] = "depthwise_mlp"
    ratio: Ratio = 4.0
    """Hidden width over width."""
    kernel_size: OddKernel = 3
    """Side of the depthwise kernel in pixels, odd."""
    act: Activation = "gelu"
    aggregate: bool = False
    """Channel aggregation after the activation (MogaNet, arXiv:2211.03295, sec. 4.3)."""

    def build(self, width: int) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, width, H, W]."""
        hidden = share(width, self.ratio)
        return DepthwiseMlpLayers(width, hidden, self.kernel_size, activation(self.act), aggregate=self.aggregate)

    def cost(self, width: int, size: Size) -> Cost:
        """Return the cost on a map of `size`."""
        hidden, positions = share(width, self.ratio), size[0] * size[1]
        layers = linear(width, hidden, positions) + linear(hidden, width, positions)
        layers += convolution(hidden, hidden, self.kernel_size, size, groups=hidden)
        if self.aggregate:
            layers += linear(hidden, 1, positions) + Cost(hidden)
        return layers + Cost(activation_params(self.act))
