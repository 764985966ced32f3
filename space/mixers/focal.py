"""Contexts of growing reach and of the whole map, summed by gates of their own (FocalNet)."""

from __future__ import annotations

from typing import Annotated, Literal, cast

import torch.nn.functional as F
from pydantic import AfterValidator, Field
from torch import Tensor, nn

from ops import focal_context, gated_levels
from space.cost import Cost, Size, convolution, linear
from space.families import TokenMixer
from space.layers import Conv2d, Guided, Pointwise, odd


class FocalContext(Guided):
    """Sum up the levels of a stack of depthwise convolutions, and the mean of the last. [N, C, H, W] -> the same.

    Each level is weighted position by position with a linear function of the guide [N, G, H, W].
    """

    def __init__(self, width: int, guide_width: int, kernels: list[int], *, normalise: bool) -> None:
        super().__init__()
        self.weigh = Pointwise(guide_width, len(kernels) + 1)
        self.levels = nn.ModuleList(Conv2d(width, width, k, padding=k // 2, groups=width, bias=False) for k in kernels)
        self.factor = 1 / (len(kernels) + 1) if normalise else 1.0

    def forward(self, x: Tensor, guide: Tensor | None = None) -> Tensor:
        """Gather the context of each position."""
        gates = self.weigh(x if guide is None else guide)
        if not self._observed():
            weights = [cast("Conv2d", level).weight for level in self.levels]
            return focal_context(x, weights, gates, scale=self.factor)
        levels = [x]
        for level in self.levels:
            levels.append(F.gelu(level(levels[-1])))
        return gated_levels(levels[1:], gates, self.factor)

    def _observed(self) -> bool:
        """Whether somebody listens to what a level takes or returns, so that each has to be computed by itself."""
        hooks = ("_forward_hooks", "_forward_pre_hooks")
        return any(bool(getattr(level, name)) for level in self.levels for name in hooks)


class Focal(TokenMixer):
    """Hierarchical contexts and gated aggregation (FocalNet, arXiv:2203.11926, sec. 3.2, eq. 5-7).

    As context of a `gated` mixer the weights of the levels come from the mixer's input, else from the map itself.
    FocalNet's mixer is this context with `mix_context` and the gate `linear`.
    """

    kind: Literal["focal"] = "focal"
    levels: Annotated[int, Field(ge=1, le=6)] = 2
    """Depthwise convolutions, each on what the one before wrote; the mean over the map is a further level."""
    window: Annotated[int, Field(ge=3, le=31), AfterValidator(odd)] = 3
    """Side of the first kernel in pixels, odd; each further one is larger by 2."""
    normalise: bool = False
    """Divide by the number of levels."""

    def _kernels(self) -> list[int]:
        return [self.window + 2 * level for level in range(self.levels)]

    def build(self, width: int) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, width, H, W]."""
        return self.build_context(width, width)

    def cost(self, width: int, size: Size) -> Cost:
        """Return the cost on a map of `size`."""
        return self.context_cost(width, width, size)

    def build_context(self, width: int, input_width: int) -> nn.Module:
        """Return a module (context [N, width, H, W], input [N, input_width, H, W]) -> [N, width, H, W]."""
        return FocalContext(width, input_width, self._kernels(), normalise=self.normalise)

    def context_cost(self, width: int, input_width: int, size: Size) -> Cost:
        """Return the cost as context of a gated mixer on a map of `size`."""
        total = linear(input_width, self.levels + 1, size[0] * size[1])
        for kernel in self._kernels():
            total += convolution(width, width, kernel, size, groups=width, bias=False)
        return total
