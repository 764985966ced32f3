"""S4 as token mixer: each channel's long convolution along one route, its kernel a HiPPO state-space model."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ops import nplr, s4_kernel, s4_step
from space.cost import Cost, Size, matrix_product
from space.families import TokenMixer
from space.long_convolution import LongConvolution, joined, layer_cost
from space.route import Route

Measure = Literal["legs", "legt", "fout"]
RANKS: dict[Measure, int] = {"legs": 1, "legt": 2, "fout": 1}
"""Ranks of what is taken from a normal matrix."""
LEAST_RATE, CLIP = 1e-4, 2.0
"""Bounds of what rates and what enters start with (state-spaces/s4@e757cef): -Re and -Im of a rate, |Im B|."""


class LowRankStateSpace(LongConvolution):
    """The layer with a diagonal plus low-rank model; frequencies are kept positive and stand for -Im of a rate.

    `C` is the model's own, not the truncated one that the published code learns after its first pass, so that one
    set of weights serves maps of any size (`ops.s4_untruncated` reads published ones).
    """

    def __init__(self, spec: S4, width: int) -> None:
        super().__init__(width, spec.states // 2, spec.route, bidirectional=spec.bidirectional)
        self.measure: Measure = spec.measure
        self.B = nn.Parameter(torch.empty(width, spec.states // 2, 2))
        self.P = nn.Parameter(torch.empty(RANKS[spec.measure], width, spec.states // 2, 2))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the model anew: the measure's matrix in each channel, steps log-uniform, C and the skip normal."""
        with torch.device("cpu"):
            rates, low_rank, enter, _ = nplr(self.measure, 2 * self.A_imag.shape[1])
        self.draw(torch.complex(rates.real.clamp(max=-LEAST_RATE), rates.imag.clamp(max=-LEAST_RATE)))
        enter = torch.complex(enter.real, enter.imag.clamp(-CLIP, CLIP))
        self.B.copy_(torch.view_as_real(enter))
        self.P.copy_(torch.view_as_real(low_rank)[:, None])

    def model(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return Lambda, P, B, C and the step sizes."""
        real, frequency, low_rank, enter, leave, log_dt = self.widened(
            self.log_A_real, self.A_imag, self.P, self.B, self.C, self.log_dt
        )
        rates = torch.complex(-real.exp(), -frequency)
        return rates, joined(low_rank), joined(enter), joined(leave), log_dt.exp()

    def kernels(self, length: int) -> Tensor:
        """Return each channel's kernel [C, length], or [2, C, length] with that for what comes."""
        return s4_kernel(*self.model(), length=length, truncated=False)

    def advanced(self, state: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Take one position u [N, C] of the model from a state [N, C, n]."""
        return s4_step(state, u, *self.model())


class S4(TokenMixer):
    """The S4 layer over the positions of a map in one order (arXiv:2111.00396; bilinear rule).

    The initial weights of its projection are this project's (normal, deviation 0.02), all others the published code's.
    """

    kind: Literal["s4"] = "s4"
    states: Annotated[int, Field(ge=2, le=256, multiple_of=2)] = 64
    """States of each channel, an even number: they come in conjugate pairs."""
    measure: Measure = "legs"
    """What the states remember at first: Legendre polynomials over all of the past, or over a window, or Fourier modes
    over a window (HiPPO, arXiv:2008.07669; arXiv:2206.12037)."""
    route: Route = "rows"
    """The order of the positions: row by row or column by column, from the upper left or, reversed, towards it."""
    bidirectional: bool = False
    """A second C, whose kernel mixes in what follows on the route, from the next position on."""

    def build(self, width: int) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, width, H, W]."""
        return LowRankStateSpace(self, width)

    def cost(self, width: int, size: Size) -> Cost:
        """Return the cost on a map of `size`: the projection, and the kernel once for a batch of any size.

        The kernel's sums over the states are one product with the frequencies, half as many as positions.
        """
        pairs, rank, outputs = self.states // 2, RANKS[self.measure], 1 + self.bidirectional
        frequencies = size[0] * size[1] // 2 + 1
        sums = matrix_product(2 * (outputs + rank) * (1 + rank), pairs, 2 * frequencies, batch=width)
        model = Cost(width * self.states * (1 + rank))
        return layer_cost(width, self.states, size, bidirectional=self.bidirectional) + sums + model
