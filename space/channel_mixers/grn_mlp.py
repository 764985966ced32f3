"""An MLP whose hidden channels compete by global response normalisation (ConvNeXt V2, UniRepLKNet)."""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor, nn

from space.activations import Activation, activation, activation_params
from space.cost import Cost, Size, linear
from space.families import ChannelMixer, Norm
from space.layers import Grn, Pointwise, Ratio, share
from space.merging import Absorbing, Mergeable, affine
from space.norms import BatchNorm, NoNorm


class PositionwiseGrnMlp(Mergeable, Absorbing):
    """Widen the channels, activate, let them compete over the map, narrow. [N, C, H, W] -> the same."""

    def __init__(self, fc1: Pointwise, act: nn.Module, grn: Grn, fc2: Pointwise, norm: nn.Module) -> None:
        super().__init__()
        self.fc1 = fc1
        self.act = act
        self.grn = grn
        self.fc2 = fc2
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """Mix the channels."""
        return self.norm(self.fc2(self.grn(self.act(self.fc1(x)))))

    @torch.no_grad()
    def merged(self) -> nn.Module:
        """Return the mixer with its norm and the shift of its response normalisation in the last linear layer."""
        if getattr(self.norm, "running_var", None) is None:
            return self
        old, hidden = self.fc2, self.fc1.out_features
        with torch.device("meta"):
            grn, fc2 = Grn(hidden, bias=False), Pointwise(hidden, old.out_features)
        grn.weight = self.grn.weight
        bias = cast("Tensor | None", old.bias)
        shift = torch.zeros_like(old.weight[:, 0]) if bias is None else bias.clone()
        if self.grn.bias is not None:
            shift += old.weight @ self.grn.bias
        fc2.weight, fc2.bias = nn.Parameter(old.weight.clone()), nn.Parameter(shift)
        out = PositionwiseGrnMlp(self.fc1, self.act, grn, fc2, nn.Identity())
        out.absorb(*affine(cast("nn.BatchNorm2d", self.norm)))
        return out

    def absorb(self, scale: Tensor, shift: Tensor) -> None:
        """Change the last linear layer so that the output is scaled by `scale` [C], then shifted by `shift` [C]."""
        self.fc2.weight.mul_(scale[:, None])
        self.fc2.bias.mul_(scale).add_(shift)


class GrnMlp(ChannelMixer):
    """MLP with global response normalisation after the activation (ConvNeXt V2, arXiv:2301.00808)."""

    kind: Literal["grn_mlp"] = "grn_mlp"
    ratio: Ratio = 4.0
    """Hidden width over width."""
    act: Activation = "gelu"
    norm: Norm = NoNorm()
    """The norm that closes the mixer (UniRepLKNet, arXiv:2311.15599)."""
    bias: bool = True
    """Bias of the last linear layer; UniRepLKNet has none, its norm follows."""
    grn_bias: bool = True
    """Learnable shift of the response normalisation; merged networks have none."""

    def build(self, width: int) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, width, H, W]."""
        hidden = share(width, self.ratio)
        fc1, fc2 = Pointwise(width, hidden), Pointwise(hidden, width, bias=self.bias)
        grn = Grn(hidden, bias=self.grn_bias)
        return PositionwiseGrnMlp(fc1, activation(self.act), grn, fc2, self.norm.build(width))

    def cost(self, width: int, size: Size) -> Cost:
        """Return the cost on a map of `size`."""
        hidden, positions = share(width, self.ratio), size[0] * size[1]
        layers = linear(width, hidden, positions) + linear(hidden, width, positions, bias=self.bias)
        grn = Cost((1 + self.grn_bias) * hidden)
        return layers + grn + self.norm.cost(width) + Cost(activation_params(self.act))

    def merged(self) -> ChannelMixer:
        """Return the mixer with its batch normalisation in the last linear layer; without one it stays as it is."""
        if not isinstance(self.norm, BatchNorm):
            return self
        return self.model_copy(update={"norm": NoNorm(), "bias": True, "grn_bias": False})
