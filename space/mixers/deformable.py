"""Deformable convolution as token mixer: DCNv3 (InternImage) and DCNv4 (FlashInternImage)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import AfterValidator, BeforeValidator, Field
from torch import Tensor, nn

from ops import dcnv3, dcnv4
from space.cost import Cost, Size, convolution, linear
from space.families import TokenMixer
from space.flop_rule import FlopRule
from space.layers import Conv2d, LayerNorm2d, OwnStart, Pointwise, odd

NORM_EPS = 1e-6
SAMPLING = FlopRule(
    "5 a tap, channel and position of deformable sampling", "OpenGVLab/InternImage@31c962d detection/get_flops.py"
)
"""DCNv4's authors count so too (OpenGVLab/DCNv4@4b848f7 segmentation/get_flops.py)."""
FILLED_TO = 8
"""DCNv4 writes offsets and weights as one tensor, filled up to a multiple of so many channels."""


class Projection(OwnStart, Pointwise):
    """A pointwise layer whose weights start uniform by fan-in and fan-out (Xavier), its bias 0."""

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        nn.init.xavier_uniform_(self.weight)
        if self.bias is not None:  # pyright: ignore[reportUnnecessaryComparison] -- torch's stub forgets bias=False
            nn.init.zeros_(self.bias)


class FromZero(OwnStart, Pointwise):
    """A pointwise layer that starts at 0, so that the taps start on their regular grid with equal weights."""

    def reset_parameters(self) -> None:
        """Set all weights to 0."""
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)


class DeformableSampling(nn.Module):
    """Project, sample at shifted taps, project. [N, C, H, W] -> the same; what the versions have in common."""

    def __init__(self, spec: Deformable, width: int) -> None:
        super().__init__()
        self.groups, self.taps = spec.groups(width), spec.taps
        self.kernel, self.offset_scale = spec.kernel_size, spec.offset_scale
        self.softmax, self.remove_center = spec.softmax, spec.remove_center
        self.project_in = Projection(width, width) if spec.project else nn.Identity()
        size = spec.offset_kernel
        self.depthwise = Conv2d(width, width, size, padding=size // 2, groups=width) if size else nn.Identity()
        self.keep = FromZero(width, self.groups) if spec.center_scale else None
        self.project_out = Projection(width, width, bias=spec.output_bias) if spec.project else nn.Identity()

    def kept(self, out: Tensor, value: Tensor, feature: Tensor) -> Tensor:
        """Let each group keep a share, told from `feature`, of what went into the sampling; all are [N, C, H, W]."""
        if self.keep is None:
            return out
        share = self.keep(feature).sigmoid().repeat_interleave(out.shape[1] // self.groups, dim=1)
        return torch.lerp(out, value, share)


class ThirdVersion(DeformableSampling):
    """DCNv3: offsets and weights by two layers, from a convolved, normalised and activated map."""

    def __init__(self, spec: Deformable, width: int) -> None:
        super().__init__(spec, width)
        self.norm, self.act = LayerNorm2d(width, NORM_EPS), nn.GELU()
        self.offset = FromZero(width, self.groups * self.taps * 2)
        self.weight = FromZero(width, self.groups * self.taps)

    def forward(self, x: Tensor) -> Tensor:
        """Mix positions."""
        value, feature = self.project_in(x), self.act(self.norm(self.depthwise(x)))
        out = dcnv3(
            value.permute(0, 2, 3, 1),
            self.offset(feature).permute(0, 2, 3, 1),
            self.weight(feature).permute(0, 2, 3, 1),
            kernel=self.kernel,
            padding=self.kernel // 2,
            groups=self.groups,
            offset_scale=self.offset_scale,
            remove_center=self.remove_center,
            softmax=self.softmax,
        ).permute(0, 3, 1, 2)
        return self.project_out(self.kept(out, value, feature))


class FourthVersion(DeformableSampling):
    """DCNv4: offsets and weights by one layer, from the map itself or a convolved one."""

    def __init__(self, spec: Deformable, width: int) -> None:
        super().__init__(spec, width)
        self.offset_weight = FromZero(width, spec.packed(width))

    def forward(self, x: Tensor) -> Tensor:
        """Mix positions."""
        value = self.project_in(x)
        packed = self.offset_weight(self.depthwise(x)).permute(0, 2, 3, 1)
        out = dcnv4(
            value.permute(0, 2, 3, 1),
            packed,
            kernel=self.kernel,
            padding=self.kernel // 2,
            groups=self.groups,
            offset_scale=self.offset_scale,
            remove_center=self.remove_center,
            softmax=self.softmax,
        ).permute(0, 3, 1, 2)
        return self.project_out(self.kept(out, value, out))


def _zero_or_odd(value: int) -> int:
    return odd(value) if value else value


def _third_or_fourth(value: object) -> object:
    if value in (1, 2):
        raise ValueError("versions 1 and 2 mix channels and are the mixer 'deformable_conv'; allowed: 3, 4")
    return value


class Deformable(TokenMixer):
    """Deformable convolution: each group of channels samples at learned places near a kernel's taps and weighs them.

    Version 3 is DCNv3 (InternImage, arXiv:2211.05778, sec. 3.1), version 4 DCNv4 (arXiv:2401.06197, sec. 3.1), which
    drops the softmax and tells offsets and weights from the map itself; offsets and weights start at 0, so that version
    4 as published writes only its output bias at first. Both settings run with and without softmax. Versions 1 and 2
    mix channels by a full kernel: `deformable_conv`.

    Channels are divided evenly: into width // group_width groups or, where that many do not divide the width, into the
    next smaller number that does, at least one.

    The cost leaves out the sampling itself, element-wise work (4 products for a bilinear sample, 1 for its weight, by
    InternImage's own count, see `added_flops`); it holds all linear layers and convolutions.
    """

    kind: Literal["deformable"] = "deformable"
    version: Annotated[Literal[3, 4], BeforeValidator(_third_or_fourth)] = 3
    """Of the operator: DCNv3 or DCNv4."""
    kernel_size: Annotated[int, Field(ge=3, le=15), AfterValidator(odd)] = 3
    """Side of the grid of taps in pixels, odd."""
    group_width: Annotated[int, Field(ge=1, le=1024)] = 16
    """Channels that share offsets and weights."""
    offset_scale: Annotated[float, Field(gt=0, le=16)] = 1.0
    """Factor on the grid and on the offsets."""
    softmax: bool = True
    """Softmax over the weights of a group's taps (published version 3), or unbounded weights (published version 4)."""
    offset_kernel: Annotated[int, Field(ge=0, le=61), AfterValidator(_zero_or_odd)] = 3
    """Side of the depthwise kernel before the layers that tell offsets and weights, odd; 0: no such convolution."""
    center_scale: bool = False
    """Let each group keep a learned share of what goes into the sampling (InternImage-H and -G); told in version 3 from
    what the offsets are told from, in version 4 from what was sampled."""
    remove_center: bool = False
    """Leave out the middle tap."""
    project: bool = True
    """Pointwise layers before and after the sampling; without them it suits the context of a gated mixer."""
    output_bias: bool = True
    """Bias of the layer after the sampling."""

    @property
    def taps(self) -> int:
        """Samples of a group at each position."""
        return self.kernel_size**2 - self.remove_center

    def groups(self, width: int) -> int:
        """Return the number of groups at `width`."""
        return next(n for n in range(max(1, width // self.group_width), 0, -1) if width % n == 0)

    def packed(self, width: int) -> int:
        """Return the channels of version 4's one tensor of offsets and weights."""
        return -(-3 * self.groups(width) * self.taps // FILLED_TO) * FILLED_TO

    def build(self, width: int) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, width, H, W]."""
        return ThirdVersion(self, width) if self.version == 3 else FourthVersion(self, width)

    def cost(self, width: int, size: Size) -> Cost:
        """Return the cost on a map of `size`."""
        positions, groups = size[0] * size[1], self.groups(width)
        total = Cost()
        if self.project:
            total += linear(width, width, positions) + linear(width, width, positions, bias=self.output_bias)
        if self.offset_kernel:
            total += convolution(width, width, self.offset_kernel, size, groups=width)
        if self.center_scale:
            total += linear(width, groups, positions)
        if self.version == 4:
            return total + linear(width, self.packed(width), positions)
        told = linear(width, 2 * groups * self.taps, positions) + linear(width, groups * self.taps, positions)
        return total + told + Cost(2 * width)

    def added_flops(self, width: int, size: Size) -> dict[FlopRule, int]:
        """Return what InternImage's count adds for the sampling on a map of `size`."""
        return {SAMPLING: 5 * size[0] * size[1] * self.taps * width}
