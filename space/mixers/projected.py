"""A token mixer between two pointwise layers (RepLKNet's block)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from space.activations import Activation, activation, activation_params
from space.cost import Cost, Size, linear
from space.families import Norm, TokenMixer
from space.flop_rule import FlopRule
from space.layers import Pointwise, Ratio, share
from space.norms import BatchNorm


class ProjectedMixer(nn.Module):
    """Project in, normalise, activate, mix positions, activate, project out, normalise. [N, C, H, W] -> the same."""

    def __init__(
        self,
        project_in: Pointwise,
        inner: nn.Module,
        project_out: Pointwise,
        norms: list[nn.Module],
        acts: list[nn.Module],
    ) -> None:
        super().__init__()
        self.project_in, self.norm1, self.act1 = project_in, norms[0], acts[0]
        self.inner, self.act2 = inner, acts[1]
        self.project_out, self.norm2 = project_out, norms[1]

    def forward(self, x: Tensor) -> Tensor:
        """Mix positions between the projections."""
        x = self.act1(self.norm1(self.project_in(x)))
        return self.norm2(self.project_out(self.act2(self.inner(x))))


class Projected(TokenMixer):
    """A token mixer between two pointwise layers, each with a norm (RepLKNet, arXiv:2203.06717, sec. 4.1)."""

    kind: Literal["projected"] = "projected"
    inner: TokenMixer
    """What mixes positions between the projections."""
    ratio: Ratio = 1.0
    """Width between the projections over width."""
    act: Activation = "relu"
    """After the first norm, and after the inner mixer."""
    norm: Norm = BatchNorm()
    """The norm after each projection."""
    bias: bool = False
    """Biases of the projections."""

    def build(self, width: int) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, width, H, W]."""
        hidden = share(width, self.ratio)
        return ProjectedMixer(
            Pointwise(width, hidden, bias=self.bias, convolution=True),
            self.inner.build(hidden),
            Pointwise(hidden, width, bias=self.bias, convolution=True),
            [self.norm.build(hidden), self.norm.build(width)],
            [activation(self.act), activation(self.act)],
        )

    def cost(self, width: int, size: Size) -> Cost:
        """Return the cost on a map of `size`. Raises SpaceError where the inner mixer cannot run at that size."""
        hidden, positions = share(width, self.ratio), size[0] * size[1]
        projections = linear(width, hidden, positions, bias=self.bias) + linear(
            hidden, width, positions, bias=self.bias
        )
        norms = self.norm.cost(hidden) + self.norm.cost(width) + Cost(2 * activation_params(self.act))
        return projections + norms + self.inner.cost(hidden, size)

    def added_flops(self, width: int, size: Size) -> dict[FlopRule, int]:
        """Return what published counts add for the inner mixer."""
        return self.inner.added_flops(share(width, self.ratio), size)

    def at_size(self, size: Size) -> TokenMixer:
        """Return the same mixer with its inner one fitted to maps of `size`."""
        return self.model_copy(update={"inner": self.inner.at_size(size)})

    def merged(self) -> TokenMixer:
        """Return the same mixer with its inner one merged."""
        return self.model_copy(update={"inner": self.inner.merged()})
