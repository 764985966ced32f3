"""Project, take a context, join it with a gate, project: the common form of VAN, FocalNet, HorNet and MogaNet."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from space.activations import GateActivation, activation
from space.cost import Cost, Size, linear
from space.families import Gate, Norm, TokenMixer
from space.flop_rule import FlopRule
from space.layers import Guided, Pointwise
from space.norms import NoNorm


class FeatureDecomposition(nn.Module):
    """Add to each channel a learnable multiple, at first 1e-5, of its difference to its mean. [N, C, H, W] -> the same.

    MogaNet, arXiv:2211.03295, eq. 3.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((width,), 1e-5))

    def forward(self, x: Tensor) -> Tensor:
        """Stress what is not the mean."""
        return x + self.scale[:, None, None] * (x - x.mean(dim=(2, 3), keepdim=True))


class GatedMixer(nn.Module):
    """Join a context of the projected map with a gate, and project. [N, C, H, W] -> the same.

    The input projection writes the gate's channels first, then the context's.
    """

    def __init__(self, spec: Gated, width: int) -> None:
        super().__init__()
        self.widths = list(spec.gate.widths(width))
        inner = self.widths[1]
        self.project_in = Pointwise(width, sum(self.widths), bias=spec.bias)
        self.decompose = FeatureDecomposition(inner) if spec.decompose else nn.Identity()
        self.act = activation(spec.act)
        self.context = spec.context.build_context(inner, width)
        self.mix = Pointwise(inner, inner, bias=spec.bias, convolution=True) if spec.mix_context else nn.Identity()
        self.gate = spec.gate.build(width)
        self.norm = spec.norm.build(width)
        self.project_out = Pointwise(width, width, bias=spec.bias)
        self.shortcut = spec.shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Mix positions in the context, and channels by the projections."""
        gate, source = torch.split(self.project_in(x), self.widths, dim=1)
        source = self.act(self.decompose(source))
        context = self.context(source, x) if isinstance(self.context, Guided) else self.context(source)
        out = self.project_out(self.norm(self.gate(gate, source, self.mix(context))))
        return out + x if self.shortcut else out


class Gated(TokenMixer):
    """A gated context: out(gate * context(in(x))), with any token mixer as context.

    VAN (arXiv:2202.09741): large-kernel context, gate `identity`. FocalNet (arXiv:2203.11926): focal context, gate
    `linear`. HorNet (arXiv:2207.14284): depthwise context, gate `recursive`. MogaNet (arXiv:2211.03295): multi-order
    context, gate `silu`.
    """

    kind: Literal["gated"] = "gated"
    context: TokenMixer
    """What mixes positions; the gate says at which width."""
    gate: Gate
    mix_context: bool = False
    """A pointwise layer after the context (VAN, FocalNet, MogaNet)."""
    act: GateActivation = "identity"
    """What the map passes through before the context is taken (VAN: gelu, MogaNet: silu)."""
    decompose: bool = False
    """Feature decomposition before that activation (MogaNet)."""
    norm: Norm = NoNorm()
    """The norm before the output projection (the huge FocalNets)."""
    shortcut: bool = False
    """Add the mixer's input to its output (VAN, MogaNet)."""
    bias: bool = True
    """Biases of the projections and of the layer after the context."""

    def build(self, width: int) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, width, H, W]."""
        return GatedMixer(self, width)

    def cost(self, width: int, size: Size) -> Cost:
        """Return the cost on a map of `size`. Raises SpaceError where the context cannot run at that size."""
        positions, (gate, inner) = size[0] * size[1], self.gate.widths(width)
        total = linear(width, gate + inner, positions, bias=self.bias) + linear(width, width, positions, bias=self.bias)
        total += self.context.context_cost(inner, width, size) + self.gate.cost(width, size)
        if self.mix_context:
            total += linear(inner, inner, positions, bias=self.bias)
        return total + self.norm.cost(width) + Cost(inner * self.decompose)

    def added_flops(self, width: int, size: Size) -> dict[FlopRule, int]:
        """Return what published counts add for the context."""
        return self.context.added_flops(self.gate.widths(width)[1], size)

    def at_size(self, size: Size) -> TokenMixer:
        """Return the same mixer with its context fitted to maps of `size`."""
        return self.model_copy(update={"context": self.context.at_size(size)})

    def merged(self) -> TokenMixer:
        """Return the same mixer with its context merged."""
        return self.model_copy(update={"context": self.context.merged()})
