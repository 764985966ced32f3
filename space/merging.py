"""Structural re-parameterisation: trained branches and norms folded into single layers that compute the same.

A module that has a merged form is `Mergeable`; one that can take on a scale and shift per channel is `Absorbing`. The
specs say the same of themselves (`TokenMixer.merged`, `absorbing`, `ChannelMixer.merged`), so that the merged network
is the network of a point too: `Architecture.merged`. Statistics of batch normalisation are those of eval mode.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ops import depthwise_branches
from space.cost import Size
from space.layers import Conv2d


class Mergeable(nn.Module):
    """A module with a form of fewer layers for use after training."""

    def merged(self) -> nn.Module:
        """Return a new module that computes the same as this one does in eval mode."""
        raise NotImplementedError


class Absorbing(nn.Module):
    """A module that can scale and shift each channel it writes without a further layer."""

    def absorb(self, scale: Tensor, shift: Tensor) -> None:
        """Change the weights so that the output is scaled by `scale` [C], then shifted by `shift` [C]."""
        raise NotImplementedError


class DepthwiseNorm(nn.Module):
    """A branch to merge: a depthwise convolution without bias, then batch normalisation. [N, C, H, W] -> the same.

    `kernel_size` is (height, width), odd; its taps are `dilation` pixels apart.
    """

    def __init__(self, width: int, kernel_size: Size, dilation: int = 1) -> None:
        super().__init__()
        self.kernel_size, self.dilation = kernel_size, dilation
        padding = (dilation * (kernel_size[0] // 2), dilation * (kernel_size[1] // 2))
        self.conv = Conv2d(width, width, kernel_size, padding=padding, dilation=dilation, groups=width, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve each channel and normalise it."""
        return self.norm(self.conv(x))


def branches_added(x: Tensor, *branches: DepthwiseNorm) -> Tensor:
    """Return the sum of branches; they are convolved by one operator, which may read x once for all of them."""
    weights, dilations = [branch.conv.weight for branch in branches], [branch.dilation for branch in branches]
    maps = depthwise_branches(x, weights, dilations=dilations)
    first, *others = (branch.norm(each) for branch, each in zip(branches, maps, strict=True))
    for other in others:
        first = first + other
    return first


class MergedDepthwise(Absorbing):
    """What branches merge into: one depthwise convolution with bias. [N, C, H, W] -> the same."""

    def __init__(self, width: int, kernel_size: Size) -> None:
        super().__init__()
        self.conv = Conv2d(width, width, kernel_size, padding=(kernel_size[0] // 2, kernel_size[1] // 2), groups=width)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve each channel."""
        return self.conv(x)

    def absorb(self, scale: Tensor, shift: Tensor) -> None:
        """Scale and shift what the convolution writes."""
        absorb_into(self.conv, scale, shift)


@torch.no_grad()
def merged_depthwise(branches: Iterable[DepthwiseNorm], kernel_size: Size) -> MergedDepthwise:
    """Return the one convolution of `kernel_size` that computes the sum of the branches in eval mode."""
    kernels, biases = zip(*(_as_kernel(branch, kernel_size) for branch in branches), strict=True)
    weight, bias = torch.stack(kernels).sum(0), torch.stack(biases).sum(0)
    with torch.device("meta"):
        out = MergedDepthwise(len(weight), kernel_size)
    out.conv.weight, out.conv.bias = nn.Parameter(weight), nn.Parameter(bias)
    return out


def _as_kernel(branch: DepthwiseNorm, kernel_size: Size) -> tuple[Tensor, Tensor]:
    weight, bias = folded(branch.conv, branch.norm)
    return padded(dense(weight, branch.dilation), kernel_size), bias


def affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return scale [C] and shift [C] of a batch normalisation in eval mode."""
    mean, variance = cast("Tensor", norm.running_mean), cast("Tensor", norm.running_var)
    scale = norm.weight.detach() / (variance + norm.eps).sqrt()
    return scale, norm.bias.detach() - mean * scale


def folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return weight and bias of the convolution that computes norm(conv(x))."""
    scale, shift = affine(norm)
    bias = shift if conv.bias is None else shift + conv.bias.detach() * scale
    return conv.weight.detach() * scale.view(-1, 1, 1, 1), bias


@torch.no_grad()
def absorb_into(conv: nn.Conv2d, scale: Tensor, shift: Tensor) -> None:
    """Change a convolution so that its output is scaled and shifted by `scale`, `shift` [C]; it gains a bias."""
    conv.weight.mul_(scale.view(-1, 1, 1, 1))
    bias = torch.zeros_like(scale) if conv.bias is None else conv.bias.detach()
    conv.bias = nn.Parameter(bias * scale + shift)


def padded(kernel: Tensor, size: Size) -> Tensor:
    """Return kernels [C, 1, K, L] of odd sides with zeros around, so that their sides are `size`."""
    down, across = (size[0] - kernel.shape[2]) // 2, (size[1] - kernel.shape[3]) // 2
    return F.pad(kernel, (across, across, down, down))


def dense(kernel: Tensor, dilation: int) -> Tensor:
    """Return kernels [C, 1, K, L] of that dilation as ordinary ones, with zeros between the taps."""
    down, across = (dilation * (side - 1) + 1 for side in kernel.shape[2:])
    out = kernel.new_zeros(*kernel.shape[:2], down, across)
    out[:, :, ::dilation, ::dilation] = kernel
    return out


@torch.no_grad()
def merge_children(module: nn.Module) -> None:
    """Replace every mergeable module below `module` by its merged form, innermost first."""
    for name, child in list(module.named_children()):
        merge_children(child)
        if isinstance(child, Mergeable):
            setattr(module, name, child.merged().train(child.training))
