"""The Mamba block as token mixer: a causal convolution and a selective scan along one route through the map."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from space.cost import Cost, Size, convolution, linear
from space.families import TokenMixer
from space.flop_rule import FlopRule
from space.layers import Pointwise, Ratio, Recurrent, share
from space.route import Route, lay, read
from space.selective_ssm import SCAN, SelectiveSsm, States, scan_flops, ssm_cost, step_rank


class MambaState(NamedTuple):
    """What a sequence carries from one position to the next."""

    window: Tensor
    """[N, C, kernel_size]: what the convolution saw last, the oldest first."""
    scan: Tensor
    """[N, C, states], at least in single precision."""


class MambaBlock(Recurrent):
    """Project, convolve causally, scan, gate, project, along one route. [N, C, H, W] -> the same.

    A map of height 1 is a sequence from left to right, read by the route `rows`. The input projection writes what is
    scanned first, then the gate.
    """

    def __init__(self, width: int, inner: int, states: int, kernel_size: int, route: Route) -> None:
        super().__init__()
        self.route: Route = route
        self.in_proj = Pointwise(width, 2 * inner, bias=False)
        self.conv = nn.Conv1d(inner, inner, kernel_size, groups=inner)
        self.ssm = SelectiveSsm(inner, step_rank(width), states, 1)
        self.out_proj = Pointwise(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Mix each position with those before it on the route."""
        size = cast("Size", tuple(x.shape[2:]))
        x, gate = read(self.in_proj(x), self.route).chunk(2, dim=1)
        x = F.silu(self.conv(F.pad(x, (self.conv.kernel_size[0] - 1, 0))))
        told = self.ssm.project(x[:, :, None]).flatten(3)
        y = self.ssm(x[:, None], told)[:, 0] * F.silu(gate)
        return self.out_proj(lay(y, self.route, size))

    def start(self, batch: int) -> MambaState:
        """Return the state before the first position."""
        weight = self.conv.weight
        wide = torch.promote_types(weight.dtype, torch.float32)
        window = weight.new_zeros(batch, weight.shape[0], weight.shape[2])
        return MambaState(window, weight.new_zeros(batch, weight.shape[0], self.ssm.states, dtype=wide))

    def step(self, x: Tensor, state: MambaState) -> tuple[Tensor, MambaState]:
        """Take the route's next position, [N, C] -> [N, C]; from `start`, the outputs are those of the whole."""
        x, gate = F.linear(x, self.in_proj.weight).chunk(2, dim=1)
        window = torch.cat((state.window[..., 1:], x[..., None]), -1)
        u = F.silu((window * self.conv.weight[:, 0]).sum(-1) + cast("Tensor", self.conv.bias))
        y, scan = self.ssm.step(u, state.scan)
        return F.linear(y * F.silu(gate), self.out_proj.weight), MambaState(window, scan)


class Mamba(TokenMixer):
    """The Mamba block over the positions of a map in one order (arXiv:2312.00752, sec. 3.4 and fig. 3).

    Its residual branch and norm are the block's around it. The initial weights of its projections are this project's
    (normal, deviation 0.02), all others the paper's.
    """

    kind: Literal["mamba"] = "mamba"
    ratio: Ratio = 2.0
    """Width that is scanned over width."""
    states: States = 16
    """States of each channel."""
    kernel_size: Annotated[int, Field(ge=1, le=64)] = 4
    """Positions that the causal convolution sees: its own and those before it."""
    route: Route = "rows"
    """The order of the positions: row by row or column by column, from the upper left or, reversed, towards it."""

    def build(self, width: int) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, width, H, W]."""
        return MambaBlock(width, share(width, self.ratio), self.states, self.kernel_size, self.route)

    def cost(self, width: int, size: Size) -> Cost:
        """Return the cost on a map of `size`; the scan itself has no matrix products, see `added_flops`."""
        inner, positions = share(width, self.ratio), size[0] * size[1]
        total = linear(width, 2 * inner, positions, bias=False) + linear(inner, width, positions, bias=False)
        total += convolution(inner, inner, (1, self.kernel_size), (1, positions), groups=inner)
        return total + ssm_cost(inner, step_rank(width), self.states, 1, positions)

    def added_flops(self, width: int, size: Size) -> dict[FlopRule, int]:
        """Return what published counts add for the scan on a map of `size`."""
        return {SCAN: scan_flops(share(width, self.ratio), 1, self.states, size)}
