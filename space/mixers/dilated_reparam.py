"""A large depthwise kernel trained beside dilated small ones, to be merged into one (UniRepLKNet)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from space.cost import Cost, Size, convolution
from space.families import TokenMixer
from space.merging import DepthwiseNorm, Mergeable, MergedDepthwise, branches_added, merged_depthwise

BRANCHES: dict[int, tuple[tuple[int, int], ...]] = {
    5: ((3, 1), (3, 2)),
    7: ((5, 1), (3, 2), (3, 3)),
    9: ((5, 1), (5, 2), (3, 3), (3, 4)),
    11: ((5, 1), (5, 2), (3, 3), (3, 4), (3, 5)),
    13: ((5, 1), (7, 2), (3, 3), (3, 4), (3, 5)),
    15: ((5, 1), (7, 2), (3, 3), (3, 5), (3, 7)),
    17: ((5, 1), (9, 2), (3, 4), (3, 5), (3, 7)),
}
"""Side and dilation of the small kernels beside a large one (AILab-CVC/UniRepLKNet@b5677d8 unireplknet.py)."""


class DilatedReparamKernel(Mergeable):
    """Add up the convolutions of a large kernel and of dilated small ones, each with its norm.

    [N, C, H, W] -> the same.
    """

    def __init__(self, width: int, kernel_size: int) -> None:
        super().__init__()
        self.large = DepthwiseNorm(width, (kernel_size, kernel_size))
        self.small = nn.ModuleList(DepthwiseNorm(width, (side, side), step) for side, step in BRANCHES[kernel_size])

    def forward(self, x: Tensor) -> Tensor:
        """Mix positions within each channel."""
        return branches_added(x, *self._branches())

    def merged(self) -> nn.Module:
        """Return the one convolution that computes the same."""
        return merged_depthwise(self._branches(), self.large.kernel_size)

    def _branches(self) -> list[DepthwiseNorm]:
        return [self.large, *(branch for branch in self.small if isinstance(branch, DepthwiseNorm))]


class DilatedReparam(TokenMixer):
    """Dilated re-parameterisation: small kernels of growing dilation beside a large one (arXiv:2311.15599, sec. 3.1).

    Each has its own batch normalisation; after training all merge into one kernel with bias.
    """

    kind: Literal["dilated_reparam"] = "dilated_reparam"
    kernel_size: Literal[5, 7, 9, 11, 13, 15, 17] = 13
    """Side of the large kernel in pixels; the small ones follow from it by the published table."""
    fused: bool = False
    """The form after training: one convolution with bias."""

    def build(self, width: int) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, width, H, W]."""
        if self.fused:
            return MergedDepthwise(width, (self.kernel_size, self.kernel_size))
        return DilatedReparamKernel(width, self.kernel_size)

    def cost(self, width: int, size: Size) -> Cost:
        """Return the cost on a map of `size`."""
        if self.fused:
            return convolution(width, width, self.kernel_size, size, groups=width)
        total = Cost()
        for side, _ in ((self.kernel_size, 1), *BRANCHES[self.kernel_size]):
            total += convolution(width, width, side, size, groups=width, bias=False) + Cost(2 * width)
        return total

    def merged(self) -> TokenMixer:
        """Return the form after training."""
        return self.model_copy(update={"fused": True})

    def absorbing(self) -> TokenMixer | None:
        """Return the form after training; before, the norms leave no place."""
        return self if self.fused else None
