"""The Mamba-2 block as token mixer: a causal convolution and a scan whose decay is one number a head."""

from __future__ import annotations

import math
from typing import Annotated, Literal, NamedTuple, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ops import ssd, ssd_step
from space.cost import Cost, Size, convolution, linear, matrix_product
from space.families import TokenMixer
from space.layers import Pointwise, Ratio, Recurrent, RmsNorm2d, share
from space.route import Route, lay, read
from space.selective_ssm import STEP_FLOOR, STEP_MAX, STEP_MIN

EPS = 1e-5
RATE_MIN, RATE_MAX = 1.0, 16.0
"""Between which -A starts, uniformly (state-spaces/mamba@e9594ce)."""
CHUNK = 64
"""Positions that the scan takes as one product of matrices; the result does not depend on it."""


class Mamba2State(NamedTuple):
    """What a sequence carries from one position to the next."""

    window: Tensor
    """[N, C + 2 states, kernel_size]: what the convolution saw last, the oldest first."""
    scan: Tensor
    """[N, heads, C / heads, states], at least in single precision."""


class Mamba2Block(Recurrent):
    """Project, convolve causally, scan, gate, normalise, project, along one route. [N, C, H, W] -> the same.

    The input projection writes the gate, what is convolved (what is scanned, then B, then C, which all heads share),
    and a step size a head.
    """

    def __init__(self, width: int, inner: int, heads: int, states: int, kernel_size: int, route: Route) -> None:
        super().__init__()
        self.inner, self.heads, self.states = inner, heads, states
        self.route: Route = route
        convolved = inner + 2 * states
        self.in_proj = Pointwise(width, inner + convolved + heads, bias=False)
        self.conv = nn.Conv1d(convolved, convolved, kernel_size, groups=convolved)
        self.dt_bias = nn.Parameter(torch.empty(heads))
        self.A_log = nn.Parameter(torch.empty(heads))
        self.D = nn.Parameter(torch.ones(heads))
        self.norm = RmsNorm2d(inner, EPS)
        self.out_proj = Pointwise(inner, width, bias=False)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the scan's parameters anew: steps log-uniform, rates uniform, the skip 1."""
        steps = torch.empty_like(self.dt_bias).uniform_(math.log(STEP_MIN), math.log(STEP_MAX)).exp()
        steps = steps.clamp(min=STEP_FLOOR)
        self.dt_bias.copy_(steps + torch.log(-torch.expm1(-steps)))  # the inverse of softplus
        self.A_log.copy_(torch.empty_like(self.A_log).uniform_(RATE_MIN, RATE_MAX).log())
        nn.init.ones_(self.D)

    def forward(self, x: Tensor) -> Tensor:
        """Mix each position with those before it on the route."""
        size = cast("Size", tuple(x.shape[2:]))
        gate, u, dt = self._split(read(self.in_proj(x), self.route))
        u = F.silu(self.conv(F.pad(u, (self.conv.kernel_size[0] - 1, 0)))).mT
        u, b, c = torch.split(u, [self.inner, self.states, self.states], dim=2)
        heads = u.reshape(*u.shape[:2], self.heads, -1)
        rates = -self.A_log.exp()
        told = (dt.mT, rates, b[:, :, None], c[:, :, None], self.D)
        y = ssd(heads, *told, dt_bias=self.dt_bias, dt_softplus=True, chunk=CHUNK)
        y = y.flatten(2).mT * F.silu(gate)
        return self.out_proj(self.norm(lay(y, self.route, size)))

    def _split(self, told: Tensor) -> tuple[Tensor, ...]:
        """Return gate, what is convolved, and step sizes, along axis 1."""
        return torch.split(told, [self.inner, self.inner + 2 * self.states, self.heads], dim=1)

    def start(self, batch: int) -> Mamba2State:
        """Return the state before the first position."""
        weight = self.conv.weight
        wide = torch.promote_types(weight.dtype, torch.float32)
        window = weight.new_zeros(batch, weight.shape[0], weight.shape[2])
        shape = (batch, self.heads, self.inner // self.heads, self.states)
        return Mamba2State(window, weight.new_zeros(shape, dtype=wide))

    def step(self, x: Tensor, state: Mamba2State) -> tuple[Tensor, Mamba2State]:
        """Take the route's next position, [N, C] -> [N, C]; from `start`, the outputs are those of the whole."""
        gate, u, dt = self._split(F.linear(x, self.in_proj.weight))
        window = torch.cat((state.window[..., 1:], u[..., None]), -1)
        u = F.silu((window * self.conv.weight[:, 0]).sum(-1) + cast("Tensor", self.conv.bias))
        u, b, c = torch.split(u, [self.inner, self.states, self.states], dim=1)
        told = (dt, -self.A_log.exp(), b[:, None], c[:, None], self.D)
        y, scan = ssd_step(state.scan, u.reshape(len(u), self.heads, -1), *told, dt_bias=self.dt_bias, dt_softplus=True)
        y = self.norm((y.flatten(1) * F.silu(gate))[..., None, None])
        return self.out_proj(y)[..., 0, 0], Mamba2State(window, scan)


class Mamba2(TokenMixer):
    """The Mamba-2 block over the positions of a map in one order (arXiv:2405.21060, sec. 7.1 and fig. 6, right).

    Its residual branch and norm are the block's around it. The initial weights of its projections are this project's
    (normal, deviation 0.02), all others those of state-spaces/mamba@03a38fb mamba_ssm/modules/mamba2.py.
    """

    kind: Literal["mamba2"] = "mamba2"
    ratio: Ratio = 2.0
    """Width that is scanned over width."""
    head_width: Annotated[int, Field(ge=1, le=1024)] = 64
    """Channels that share step size and decay; where so many do not divide what is scanned, the next larger number of
    channels that does, at most all."""
    states: Annotated[int, Field(ge=1, le=1024)] = 128
    """States of each channel."""
    kernel_size: Annotated[int, Field(ge=1, le=64)] = 4
    """Positions that the causal convolution sees: its own and those before it."""
    route: Route = "rows"
    """The order of the positions: row by row or column by column, from the upper left or, reversed, towards it."""

    def heads(self, width: int) -> int:
        """Return the number of heads at `width`."""
        inner = share(width, self.ratio)
        return next(n for n in range(max(1, inner // self.head_width), 0, -1) if inner % n == 0)

    def build(self, width: int) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, width, H, W]."""
        inner = share(width, self.ratio)
        return Mamba2Block(width, inner, self.heads(width), self.states, self.kernel_size, self.route)

    def cost(self, width: int, size: Size) -> Cost:
        """Return the cost on a map of `size`; the scan's products within a chunk and with its state are counted."""
        inner, heads, positions, states = share(width, self.ratio), self.heads(width), size[0] * size[1], self.states
        convolved = inner + 2 * states
        total = linear(width, inner + convolved + heads, positions, bias=False)
        total += convolution(convolved, convolved, (1, self.kernel_size), (1, positions), groups=convolved)
        chunk, each = min(CHUNK, positions), inner // heads
        scan = matrix_product(chunk, states, chunk)
        scan += matrix_product(chunk, chunk, each, batch=heads)
        scan += matrix_product(each, chunk, states, batch=heads) + matrix_product(chunk, states, each, batch=heads)
        total += scan * -(-positions // chunk) + Cost(3 * heads + inner)
        return total + linear(inner, width, positions, bias=False)
