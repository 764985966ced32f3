"""S4D as token mixer: each channel's long convolution along one route, its kernel a diagonal state-space model."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ops import s4d_kernel, s4d_spectrum, s4d_step
from space.cost import Cost, Size, matrix_product
from space.families import TokenMixer
from space.long_convolution import LongConvolution, joined, layer_cost
from space.route import Route

Spectrum = Literal["lin", "inv", "legs"]


class DiagonalStateSpace(LongConvolution):
    """The layer with a diagonal model: what enters a state is part of `C`, and frequencies are positive."""

    def __init__(self, spec: S4d, width: int) -> None:
        super().__init__(width, spec.states // 2, spec.route, bidirectional=spec.bidirectional)
        self.spectrum: Spectrum = spec.spectrum
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the model anew: the spectrum in each channel, steps log-uniform, C and the skip normal."""
        with torch.device("cpu"):
            rates, entering = s4d_spectrum(self.spectrum, 2 * self.A_imag.shape[1])
        self.draw(rates)
        self.C.mul_(entering.abs()[:, None].to(self.C))

    def model(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return rates, what enters, C and the step sizes."""
        real, imaginary, leave, log_dt = self.widened(self.log_A_real, self.A_imag, self.C, self.log_dt)
        rates = torch.complex(-real.exp(), imaginary)
        return rates, torch.complex(torch.ones_like(real), torch.zeros_like(real)), joined(leave), log_dt.exp()

    def kernels(self, length: int) -> Tensor:
        """Return each channel's kernel [C, length], or [2, C, length] with that for what comes."""
        return s4d_kernel(*self.model(), length=length)

    def advanced(self, state: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Take one position u [N, C] of the model from a state [N, C, n]."""
        return s4d_step(state, u, *self.model())


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
    bidirectional: bool = False
    """A second C, whose kernel mixes in what follows on the route, from the next position on."""

    def build(self, width: int) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, width, H, W]."""
        return DiagonalStateSpace(self, width)

    def cost(self, width: int, size: Size) -> Cost:
        """Return the cost on a map of `size`: the projection, and the kernel once for a batch of any size.

        The kernel is a product of far and near positions, both about the square root of their number.
        """
        positions = size[0] * size[1]
        near = math.isqrt(positions - 1) + 1
        kernel = matrix_product(-(-positions // near), self.states, near, batch=width * (1 + self.bidirectional))
        return layer_cost(width, self.states, size, bidirectional=self.bidirectional) + kernel
