"""S4D as token mixer: each channel's long convolution along one route, its kernel a diagonal state-space model."""

from __future__ import annotations

import math
from typing import Annotated, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ops import long_conv1d, s4d_kernel, s4d_spectrum
from space.cost import Cost, Size, linear, matrix_product
from space.families import TokenMixer
from space.layers import OncePerBatch, Pointwise
from space.route import Route, lay, read

Spectrum = Literal["lin", "inv", "legs"]
STEP_MIN, STEP_MAX = 1e-3, 1e-1
"""Between which step sizes start, log-uniformly (state-spaces/s4@e757cef models/s4/s4d.py)."""


class DiagonalStateSpace(OncePerBatch):
    """Convolve along a route, activate, project and gate. [N, C, H, W] -> the same.

    States are kept as conjugate pairs, what enters them is part of `C`, frequencies are positive, and the projection
    writes the value first, then its gate.
    """

    def __init__(self, spec: S4d, width: int) -> None:
        super().__init__()
        self.route: Route = spec.route
        self.spectrum: Spectrum = spec.spectrum
        pairs = spec.states // 2
        self.log_dt = nn.Parameter(torch.empty(width))
        self.log_A_real = nn.Parameter(torch.empty(width, pairs))
        self.A_imag = nn.Parameter(torch.empty(width, pairs))
        self.C = nn.Parameter(torch.empty(width, pairs, 2))
        self.D = nn.Parameter(torch.empty(width))
        self.out_proj = Pointwise(width, 2 * width)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the model anew: the spectrum in each channel, steps log-uniform, C and the skip normal."""
        with torch.device("cpu"):
            rates, entering = s4d_spectrum(self.spectrum, 2 * self.A_imag.shape[1])
        self.log_dt.uniform_(math.log(STEP_MIN), math.log(STEP_MAX))
        self.log_A_real.copy_((-rates.real).log().expand(self.log_A_real.shape))
        self.A_imag.copy_((-rates.imag).expand(self.A_imag.shape))
        self.C.normal_(std=0.5**0.5).mul_(entering.abs()[:, None].to(self.C))
        self.D.normal_()

    def kernel(self, length: int) -> Tensor:
        """Return each channel's kernel [C, length]."""
        wide = torch.promote_types(self.C.dtype, torch.float32)
        real, imaginary, out_of = (p.to(wide) for p in (self.log_A_real, self.A_imag, self.C))
        rates = torch.complex(-real.exp(), imaginary)
        steps = self.log_dt.to(wide).exp()
        return s4d_kernel(rates, torch.ones_like(rates), torch.view_as_complex(out_of), steps, length=length)

    def forward(self, x: Tensor) -> Tensor:
        """Mix each position with those before it on the route, then the channels of each."""
        sequence = read(x, self.route)
        y = F.gelu(long_conv1d(sequence, self.kernel(sequence.shape[2]), self.D))
        value, gate = self.out_proj(lay(y, self.route, cast("Size", tuple(x.shape[2:])))).chunk(2, dim=1)
        return value * gate.sigmoid()


class S4d(TokenMixer):
    """The S4D layer over the positions of a map in one order (arXiv:2206.11893; zero-order hold).

    The initial weights of its projection are this project's (normal, deviation 0.02), all others the paper's.
    """

    kind: Literal["s4d"] = "s4d"
    states: Annotated[int, Field(ge=2, le=512, multiple_of=2)] = 64
    """States of each channel, an even number: they come in conjugate pairs."""
    spectrum: Spectrum = "lin"
    """How the states' frequencies start: pi n, inversely with n, or as those of HiPPO's Legendre polynomials."""
    route: Route = "rows"
    """The order of the positions: row by row or column by column, from the upper left or, reversed, towards it."""

    def build(self, width: int) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, width, H, W]."""
        return DiagonalStateSpace(self, width)

    def cost(self, width: int, size: Size) -> Cost:
        """Return the cost on a map of `size`: the projection, and the kernel once for a batch of any size.

        The convolution goes by Fourier transforms, which count no MACs. The kernel is a product of far and near
        positions, both about the square root of their number.
        """
        positions = size[0] * size[1]
        near = math.isqrt(positions - 1) + 1
        kernel = matrix_product(-(-positions // near), self.states, near, batch=width)
        return linear(width, 2 * width, positions) + kernel + Cost(width * (2 + 2 * self.states))
