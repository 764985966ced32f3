"""A large depthwise kernel trained beside a small one, to be merged into one (RepLKNet; SLaK's undecomposed form)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from space.cost import Cost, Size, convolution
from space.families import TokenMixer
from space.layers import OddKernel
from space.merging import DepthwiseNorm, Mergeable, MergedDepthwise, branches_added, merged_depthwise


class ReparamKernel(Mergeable):
    """Add up a large and a small kernel's convolution, each with its norm. [N, C, H, W] -> the same."""

    def __init__(self, width: int, kernel_size: int, small: int) -> None:
        super().__init__()
        self.large = DepthwiseNorm(width, (kernel_size, kernel_size))
        self.small = DepthwiseNorm(width, (small, small)) if small else None

    def forward(self, x: Tensor) -> Tensor:
        """Mix positions within each channel."""
        return self.large(x) if self.small is None else branches_added(x, self.large, self.small)

    def merged(self) -> nn.Module:
        """Return the one convolution that computes the same."""
        branches = [self.large] if self.small is None else [self.large, self.small]
        return merged_depthwise(branches, self.large.kernel_size)


class ReparamLargeKernel(TokenMixer):
    """A large and a small depthwise kernel side by side (RepLKNet, arXiv:2203.06717, sec. 3, guideline 3).

    Each has its own batch normalisation; after training both merge into one kernel with bias.
    """

    kind: Literal["reparam_large_kernel"] = "reparam_large_kernel"
    kernel_size: OddKernel = 31
    """Side of the large kernel in pixels, odd."""
    small_kernel: Literal[0, 3, 5] = 5
    """Side of the small kernel in pixels; 0: none, and none either where the large one is no larger."""
    fused: bool = False
    """The form after training: one convolution with bias."""

    def build(self, width: int) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, width, H, W]."""
        if self.fused:
            return MergedDepthwise(width, (self.kernel_size, self.kernel_size))
        return ReparamKernel(width, self.kernel_size, self.small_kernel * (self.small_kernel < self.kernel_size))

    def cost(self, width: int, size: Size) -> Cost:
        """Return the cost on a map of `size`."""
        total = convolution(width, width, self.kernel_size, size, groups=width, bias=self.fused)
        if self.fused:
            return total
        if 0 < self.small_kernel < self.kernel_size:
            total += convolution(width, width, self.small_kernel, size, groups=width, bias=False) + Cost(2 * width)
        return total + Cost(2 * width)

    def merged(self) -> TokenMixer:
        """Return the form after training."""
        return self.model_copy(update={"fused": True})

    def absorbing(self) -> TokenMixer | None:
        """Return the form after training; before, the norms leave no place."""
        return self if self.fused else None
