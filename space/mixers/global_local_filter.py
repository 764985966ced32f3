"""Half of the channels filtered in the frequency domain, half by a small kernel (HorNet's global filter)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from space.cost import Cost, Size, convolution
from space.families import TokenMixer
from space.layers import INITIAL_DEVIATION, Conv2d, LayerNorm2d

EPS = 1e-6


class GlobalLocalFilter(nn.Module):
    """Norm, a 3x3 depthwise convolution of one half, a learnable spectrum on the other, norm. [N, C, H, W] -> the same.

    The halves' channels alternate in the output, local ones first; of an odd width the local half has one more.
    """

    def __init__(self, width: int, spectrum: Size) -> None:
        super().__init__()
        spectral = width // 2
        self.split = [width - spectral, spectral]
        self.norm1 = LayerNorm2d(width, EPS)
        self.local = Conv2d(self.split[0], self.split[0], 3, padding=1, groups=self.split[0], bias=False)
        self.spectrum = nn.Parameter(INITIAL_DEVIATION * torch.randn(spectral, *spectrum, 2))
        self.norm2 = LayerNorm2d(width, EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Mix positions within each channel."""
        local, wide = torch.split(self.norm1(x), self.split, dim=1)
        local, wide = self.local(local), self._filtered(wide)
        count = wide.shape[1]
        pairs = torch.stack((local[:, :count], wide), dim=2).flatten(1, 2)
        return self.norm2(torch.cat((pairs, local[:, count:]), dim=1))

    def _filtered(self, x: Tensor) -> Tensor:
        """Multiply the spectrum of each channel by its own; at least in single precision, which FFTs need."""
        height, width = x.shape[2:]
        exact = x if x.dtype == torch.float64 else x.float()
        fft = cast("Any", torch.fft)  # has no stub
        waves: Tensor = fft.rfft2(exact, norm="ortho") * self._resized((height, width // 2 + 1))
        filtered: Tensor = fft.irfft2(waves, s=(height, width), norm="ortho")
        return filtered.to(x.dtype)

    def _resized(self, size: Size) -> Tensor:
        """Return the complex spectrum [C, h, w], interpolated where the map asks for another size."""
        spectrum = self.spectrum if self.spectrum.dtype == torch.float64 else self.spectrum.float()
        if size != tuple(spectrum.shape[1:3]):
            planes = spectrum.permute(3, 0, 1, 2)
            planes = F.interpolate(planes, size, mode="bilinear", align_corners=True)
            spectrum = planes.permute(1, 2, 3, 0)
        return torch.view_as_complex(spectrum.contiguous())


class GlobalLocal(TokenMixer):
    """HorNet's global filter (arXiv:2207.14284, sec. 3.3), after GFNet's (arXiv:2107.00645).

    FFTs and the product of spectra count no MACs here.
    """

    kind: Literal["global_local_filter"] = "global_local_filter"
    height: Annotated[int, Field(ge=1, le=128)] = 14
    """Rows of the learnable spectrum: the height of the map it fits without interpolation."""
    width: Annotated[int, Field(ge=1, le=128)] = 8
    """Columns of the learnable spectrum: half of the map's width and 1."""

    def build(self, width: int) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, width, H, W]; width at least 2."""
        return GlobalLocalFilter(width, (self.height, self.width))

    def cost(self, width: int, size: Size) -> Cost:
        """Return the cost on a map of `size`."""
        local = width - width // 2
        norms = Cost(4 * width + (width // 2) * self.height * self.width * 2)
        return convolution(local, local, 3, size, groups=local, bias=False) + norms
