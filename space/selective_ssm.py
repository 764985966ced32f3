"""The selective state-space model that the scanning mixers share: parameters, their initial values, one or more routes.

A route is one way through a map. Each has parameters of its own; they are kept stacked, as published weights are.

What it counts as: the projections are matrix products and count as MACs. The recurrence itself is element-wise (an
exponential, products and a sum over N states that no matrix product computes), so it counts none, as a norm or an
activation does; `SCAN` and `scan_flops` state what the published networks add for it.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ops import Routes, selective_scan, selective_scan_2d, selective_scan_step
from space.cost import Cost, Size, linear, matrix_product
from space.flop_rule import FlopRule

States = Annotated[int, Field(ge=1, le=256)]
"""States of each channel (N in arXiv:2312.00752)."""

STEP_MIN, STEP_MAX, STEP_FLOOR = 1e-3, 1e-1, 1e-4
"""Step sizes start log-uniformly between the first two, and at least the third (state-spaces/mamba@e9594ce)."""


def step_rank(width: int) -> int:
    """Return the rank of the step sizes' projection in a block of `width` channels: a sixteenth, rounded up."""
    return -(-width // 16)


SCAN = FlopRule(
    "9 L D N + L D for a scan of L positions, D channels times routes, N states",
    "github.com/state-spaces/mamba/issues/110",
    "what VMamba's tables add for norms (5 an element, at most 1 %)",
)


def scan_flops(width: int, routes: int, states: int, size: Size) -> int:
    """Return what published counts add, by the rule `SCAN`, for the scan of `width` channels along each route."""
    return (9 * states + 1) * size[0] * size[1] * width * routes


class SelectiveSsm(nn.Module):
    """A selective state-space model for each of `routes` (Mamba, arXiv:2312.00752, algorithm 2, skip included).

    Step sizes, B and C are told from the input by `x_proj` (rows: `rank` for the steps, then B, then C); `dt_proj`
    brings the steps from `rank` to a number for each channel. Along different routes a position reads the same
    values, so they are projected once on the map and then read along the routes.
    """

    def __init__(self, width: int, rank: int, states: int, routes: int) -> None:
        super().__init__()
        self.rank, self.states = rank, states
        self.x_proj = nn.Parameter(torch.empty(routes, rank + 2 * states, width))
        self.dt_proj = nn.Parameter(torch.empty(routes, width, rank))
        self.dt_bias = nn.Parameter(torch.empty(routes, width))
        self.A_log = nn.Parameter(torch.empty(routes * width, states))
        self.D = nn.Parameter(torch.empty(routes * width))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the parameters anew: A from -1 to -N in each channel (S4D-real), steps log-uniform, the skip 1."""
        nn.init.uniform_(self.x_proj, -(self.x_proj.shape[2] ** -0.5), self.x_proj.shape[2] ** -0.5)
        nn.init.uniform_(self.dt_proj, -(self.rank**-0.5), self.rank**-0.5)
        steps = torch.empty_like(self.dt_bias).uniform_(math.log(STEP_MIN), math.log(STEP_MAX)).exp()
        steps = steps.clamp(min=STEP_FLOOR)
        self.dt_bias.copy_(steps + torch.log(-torch.expm1(-steps)))  # the inverse of softplus
        self.A_log.copy_(torch.arange(1, self.states + 1, dtype=self.A_log.dtype, device=self.A_log.device).log())
        nn.init.ones_(self.D)

    def project(self, x: Tensor, routes: slice = slice(None)) -> Tensor:
        """Tell what the scan of each route needs: map [N, C, H, W] -> [N, routes, rank + 2 states, H, W]."""
        weight = self.x_proj[routes]
        told = F.linear(x.permute(0, 2, 3, 1), weight.flatten(0, 1))
        return told.view(*told.shape[:3], *weight.shape[:2]).permute(0, 3, 4, 1, 2)

    def forward(self, u: Tensor, told: Tensor, routes: slice = slice(None)) -> Tensor:
        """Scan u [N, routes, C, L] with told [N, routes, rank + 2 states, L], both read along the routes. As u."""
        steps, b, c = torch.split(told, [self.rank, self.states, self.states], dim=2)
        delta = torch.matmul(self.dt_proj[routes], steps).flatten(1, 2)
        rates = -self.A_log.view(*self.dt_bias.shape, -1)[routes].flatten(0, 1).exp()
        skip = self.D.view_as(self.dt_bias)[routes].flatten()
        bias = self.dt_bias[routes].flatten()
        y = selective_scan(u.flatten(1, 2), delta, rates, b, c, skip, delta_bias=bias, delta_softplus=True)
        return y.view(u.shape)

    def over_map(self, x: Tensor, routes: Routes) -> Tensor:
        """Scan a map [N, C, H, W] along four routes and sum what each position is told. As x."""
        rates, bias = -self.A_log.exp(), self.dt_bias.flatten()
        return selective_scan_2d(
            x, self.project(x), self.dt_proj, rates, self.D, bias, delta_softplus=True, routes=routes
        )

    def step(self, u: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Take the next position u [N, C] of the only route from a state [N, C, states]; returns both after it."""
        steps, b, c = torch.split(F.linear(u, self.x_proj[0]), [self.rank, self.states, self.states], dim=1)
        delta, rates = F.linear(steps, self.dt_proj[0]), -self.A_log.exp()
        return selective_scan_step(
            state, u, delta, rates, b, c, self.D, delta_bias=self.dt_bias[0], delta_softplus=True
        )


def ssm_cost(width: int, rank: int, states: int, routes: int, positions: int) -> Cost:
    """Return the cost of a `SelectiveSsm` that scans `positions` along each of its routes."""
    projected = linear(width, routes * (rank + 2 * states), positions, bias=False)
    steps = matrix_product(width, rank, positions, batch=routes)
    return projected + steps + Cost(routes * width * (rank + 1 + states + 1))
