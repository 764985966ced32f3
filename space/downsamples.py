"""What leads from one stage to the next, all members of the family."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from space.activations import Activation, activation, activation_params
from space.cost import Cost, Size, convolution, linear
from space.errors import SpaceError
from space.families import Downsample, Norm
from space.layers import Pointwise, Reducing, out_size
from space.norms import BatchNorm, LayerNorm


class NoDownsample(Downsample):
    """Nothing: the next stage has the same width and resolution."""

    kind: Literal["none"] = "none"

    def build(self, in_width: int, width: int) -> nn.Module:
        """Return the identity. Raises SpaceError where the widths differ."""
        _need_equal(in_width, width)
        return nn.Identity()

    def out_size(self, size: Size) -> Size:
        """Return `size`."""
        return size

    def cost(self, in_width: int, width: int, size: Size) -> Cost:
        """Return nothing. Raises SpaceError where the widths differ."""
        _need_equal(in_width, width)
        return Cost()


def _need_equal(in_width: int, width: int) -> None:
    if in_width != width:
        raise SpaceError(f"downsample: 'none' cannot lead from {in_width} to {width} channels, use equal widths")


class NormedConv(nn.Module):
    """A strided convolution with a norm before or after it."""

    def __init__(self, conv: Reducing, norm: nn.Module, *, norm_first: bool) -> None:
        super().__init__()
        self.norm = norm
        self.conv = conv
        self.norm_first = norm_first

    def forward(self, x: Tensor) -> Tensor:
        """Normalise and convolve, in the order asked for."""
        return self.conv(self.norm(x)) if self.norm_first else self.norm(self.conv(x))


class StridedConv(Downsample):
    """A convolution of stride 2: kernel 2 after a norm in ConvNeXt (arXiv:2201.03545, sec. 2.6), 3 in PoolFormer."""

    kind: Literal["strided_conv"] = "strided_conv"
    kernel_size: Literal[2, 3] = 2
    """Side in pixels: 2 without padding, 3 with 1 pixel of zeros at each edge."""
    norm: Norm = LayerNorm()
    norm_at: Literal["before", "after"] = "before"
    """Where the norm stands: on the map before the convolution, or on what it writes."""
    init: Literal["normal", "fan_in"] = "normal"
    """How the convolution starts: normal with deviation 0.02, or as PyTorch's own convolutions (PoolFormer)."""
    bias: bool = True
    """Bias of the convolution; InternImage has none, its norm follows."""

    def build(self, in_width: int, width: int) -> nn.Module:
        """Return a module [N, in_width, H, W] -> [N, width, h, w]."""
        side, fan_in = self.kernel_size, self.init == "fan_in"
        conv = Reducing(in_width, width, side, 2, side // 3, bias=self.bias, fan_in=fan_in)
        before = self.norm_at == "before"
        return NormedConv(conv, self.norm.build(in_width if before else width), norm_first=before)

    def out_size(self, size: Size) -> Size:
        """Return (h, w) for a map of (H, W): half of it, rounded down for kernel 2 and up for kernel 3, at least 1."""
        return out_size(size, self.kernel_size, 2, self.kernel_size // 3)

    def cost(self, in_width: int, width: int, size: Size) -> Cost:
        """Return the cost on a map of `size` (before downsampling)."""
        norm = self.norm.cost(in_width if self.norm_at == "before" else width)
        return convolution(in_width, width, self.kernel_size, self.out_size(size), bias=self.bias) + norm


class MergedPatches(nn.Module):
    """Put the channels of 2 x 2 positions side by side, normalise them, project. [N, C, H, W] -> [N, width, h, w].

    A map of odd height or width is filled up with zeros below and right. The four come column by column.
    """

    def __init__(self, norm: nn.Module, reduction: Pointwise) -> None:
        super().__init__()
        self.norm = norm
        self.reduction = reduction

    def forward(self, x: Tensor) -> Tensor:
        """Halve the map."""
        below, right = (side % 2 for side in x.shape[2:])
        if below or right:
            x = F.pad(x, (0, right, 0, below))
        batch, channels, height, width = x.shape
        patches = x.view(batch, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 5, 3, 1)
        return self.reduction(self.norm(patches.flatten(3).permute(0, 3, 1, 2)))


class PatchMerging(Downsample):
    """The channels of 2 x 2 positions side by side, a norm, a linear layer without bias (Swin, arXiv:2103.14030)."""

    kind: Literal["patch_merging"] = "patch_merging"
    norm: Norm = LayerNorm()
    """The norm on the four positions' channels together."""

    def build(self, in_width: int, width: int) -> nn.Module:
        """Return a module [N, in_width, H, W] -> [N, width, h, w]."""
        return MergedPatches(self.norm.build(4 * in_width), Pointwise(4 * in_width, width, bias=False))

    def out_size(self, size: Size) -> Size:
        """Return (h, w) for a map of (H, W): half of it, rounded up."""
        return -(-size[0] // 2), -(-size[1] // 2)

    def cost(self, in_width: int, width: int, size: Size) -> Cost:
        """Return the cost on a map of `size` (before downsampling)."""
        height, across = self.out_size(size)
        return linear(4 * in_width, width, height * across, bias=False) + self.norm.cost(4 * in_width)


class PointwiseDepthwise(nn.Module):
    """A pointwise layer, then a strided depthwise convolution, each with norm and activation."""

    def __init__(
        self, pointwise: Pointwise, depthwise: Reducing, norms: list[nn.Module], acts: list[nn.Module]
    ) -> None:
        super().__init__()
        self.pointwise, self.norm1, self.act1 = pointwise, norms[0], acts[0]
        self.depthwise, self.norm2, self.act2 = depthwise, norms[1], acts[1]

    def forward(self, x: Tensor) -> Tensor:
        """Widen, then halve the map."""
        return self.act2(self.norm2(self.depthwise(self.act1(self.norm1(self.pointwise(x))))))


class SeparableDownsample(Downsample):
    """A pointwise layer to the new width, then a depthwise convolution of stride 2 (RepLKNet, arXiv:2203.06717)."""

    kind: Literal["separable"] = "separable"
    norm: Norm = BatchNorm()
    """The norm after each layer."""
    act: Activation = "relu"
    """The activation after each norm."""

    def build(self, in_width: int, width: int) -> nn.Module:
        """Return a module [N, in_width, H, W] -> [N, width, h, w]."""
        return PointwiseDepthwise(
            Pointwise(in_width, width, bias=False, convolution=True),
            Reducing(width, width, 3, 2, 1, groups=width, bias=False),
            [self.norm.build(width), self.norm.build(width)],
            [activation(self.act), activation(self.act)],
        )

    def out_size(self, size: Size) -> Size:
        """Return (h, w) for a map of (H, W): half of it, rounded up."""
        return out_size(size, 3, 2, 1)

    def cost(self, in_width: int, width: int, size: Size) -> Cost:
        """Return the cost on a map of `size` (before downsampling)."""
        pointwise = linear(in_width, width, size[0] * size[1], bias=False)
        depthwise = convolution(width, width, 3, self.out_size(size), groups=width, bias=False)
        return pointwise + depthwise + (self.norm.cost(width) + Cost(activation_params(self.act))) * 2
