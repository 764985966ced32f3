"""Deformable convolution, versions 1 and 2, as token mixer: a full kernel whose taps move, and in version 2 count."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import AfterValidator, Field
from torch import Tensor, nn

from ops import deform_conv2d
from space.cost import Cost, Size, convolution
from space.families import TokenMixer
from space.layers import Conv2d, OwnStart, odd


class ConvolutionFromZero(OwnStart, Conv2d):
    """A convolution that starts at 0, so that the taps start on their regular grid."""

    def reset_parameters(self) -> None:
        """Set all weights to 0."""
        nn.init.zeros_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class DeformableConvolution(nn.Module):
    """Tell offsets, and in version 2 weights, by a convolution; then convolve there. [N, C, H, W] -> the same.

    The layer `offset` writes a pair (down, right) for each group and tap, row by row of the kernel, then the logits of
    the weights.
    """

    def __init__(self, spec: DeformableConv, width: int) -> None:
        super().__init__()
        self.moves = 2 * spec.groups(width) * spec.kernel_size**2
        side, self.offset_scale = spec.kernel_size, spec.offset_scale
        self.padding = side // 2
        self.offset = ConvolutionFromZero(width, spec.told(width), side, padding=self.padding)
        self.conv = Conv2d(width, width, side, padding=self.padding, bias=spec.output_bias)

    def forward(self, x: Tensor) -> Tensor:
        """Mix positions and channels."""
        offset, logits = torch.tensor_split(self.offset(x), (self.moves,), dim=1)
        if self.offset_scale != 1:
            offset = self.offset_scale * offset + (self.offset_scale - 1) * self._grid(offset)
        mask = logits.sigmoid() if logits.shape[1] else None
        return deform_conv2d(x, offset, self.conv.weight, self.conv.bias, mask, padding=self.padding)

    def _grid(self, offset: Tensor) -> Tensor:
        """Return the places of the taps before any offset, seen from the middle one, [moves, 1, 1]."""
        side = torch.arange(-self.padding, self.padding + 1, dtype=offset.dtype, device=offset.device)
        pairs = torch.stack((side[:, None].expand(-1, len(side)), side.expand(len(side), -1)), -1).flatten()
        return pairs.repeat(self.moves // len(pairs))[:, None, None]


class DeformableConv(TokenMixer):
    """A deformable convolution: a convolution over all channels, whose taps sample where the map itself tells.

    Version 1 is that of Deformable Convolutional Networks (arXiv:1703.06211, sec. 2.1); version 2 also weighs each
    sample by a number in (0, 1) (arXiv:1811.11168, sec. 3.2). Offsets and logits start at 0, so that either starts as a
    convolution, version 2 as half of one. Versions 3 and 4, whose groups of channels do not mix, are `deformable`.

    Channels are divided into groups as in `deformable`. The sampling itself, element-wise work, counts no MACs.
    """

    kind: Literal["deformable_conv"] = "deformable_conv"
    version: Literal[1, 2] = 2
    """Of the operator: without or with weights."""
    kernel_size: Annotated[int, Field(ge=3, le=15), AfterValidator(odd)] = 3
    """Side of the kernel, and of the one that tells offsets and weights, in pixels, odd."""
    group_width: Annotated[int, Field(ge=1, le=8192)] = 8192
    """Channels that share offsets and weights; all of a narrower map do, as in the papers."""
    offset_scale: Annotated[float, Field(gt=0, le=16)] = 1.0
    """Factor on the grid and on the offsets; a whole number is a dilation."""
    output_bias: bool = True
    """Bias of the convolution."""

    def groups(self, width: int) -> int:
        """Return the number of groups of channels that share offsets at `width`."""
        return next(n for n in range(max(1, width // self.group_width), 0, -1) if width % n == 0)

    def told(self, width: int) -> int:
        """Return the channels that tell offsets and weights: 2 or 3 for each group and tap."""
        return (self.version + 1) * self.groups(width) * self.kernel_size**2

    def build(self, width: int) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, width, H, W]."""
        return DeformableConvolution(self, width)

    def cost(self, width: int, size: Size) -> Cost:
        """Return the cost on a map of `size`."""
        positions = size[0] * size[1]
        taps = width * self.kernel_size**2
        kernel = Cost(width * (taps + self.output_bias), width * taps * positions, width * positions)
        return convolution(width, self.told(width), self.kernel_size, size) + kernel
