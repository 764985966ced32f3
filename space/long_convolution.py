"""The layer around a state-space model's long convolution, which S4 and S4D share (state-spaces/s4@e757cef)."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ops import long_conv1d
from space.cost import Cost, Size, linear
from space.errors import SpaceError
from space.layers import OncePerBatch, Pointwise, Recurrent
from space.route import Route, lay, read

STEP_MIN, STEP_MAX = 1e-3, 1e-1
"""Between which step sizes start, log-uniformly (state-spaces/s4@e757cef models/s4/s4d.py)."""


class LongConvolution(OncePerBatch, Recurrent):
    """Convolve along a route, activate, project and gate. [N, C, H, W] -> the same.

    The kernel is made from a model whose states are kept as conjugate pairs. With two directions there is a second one
    for the positions that follow. The projection writes the value first, then its gate.
    """

    def __init__(self, width: int, pairs: int, route: Route, *, bidirectional: bool) -> None:
        super().__init__()
        self.route: Route = route
        self.bidirectional = bidirectional
        self.log_dt = nn.Parameter(torch.empty(width))
        self.log_A_real = nn.Parameter(torch.empty(width, pairs))
        self.A_imag = nn.Parameter(torch.empty(width, pairs))
        self.C = nn.Parameter(torch.empty(*((2,) if bidirectional else ()), width, pairs, 2))
        self.D = nn.Parameter(torch.empty(width))
        self.out_proj = Pointwise(width, 2 * width)

    @torch.no_grad()
    def draw(self, rates: Tensor) -> None:
        """Draw the model anew from rates [n] or [C, n] complex: steps log-uniform, C and the skip normal."""
        self.log_dt.uniform_(math.log(STEP_MIN), math.log(STEP_MAX))
        self.log_A_real.copy_((-rates.real).log().expand(self.log_A_real.shape))
        self.A_imag.copy_((-rates.imag).expand(self.A_imag.shape))
        self.C.normal_(std=0.5**0.5)
        self.D.normal_()

    def widened(self, *parameters: Tensor) -> list[Tensor]:
        """Return parameters in at least single precision."""
        return [p.to(torch.promote_types(self.C.dtype, torch.float32)) for p in parameters]

    def kernels(self, length: int) -> Tensor:
        """Return each channel's kernel [C, length], or [2, C, length] with that for what comes."""
        raise NotImplementedError

    def advanced(self, state: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Take one position u [N, C] of the model from a state [N, C, n]."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Mix each position with those before it on the route, or all, then the channels of each."""
        sequence = read(x, self.route)
        kernels = self.kernels(sequence.shape[2])
        past, ahead = kernels.unbind() if self.bidirectional else (kernels, None)
        y = F.gelu(long_conv1d(sequence, past, self.D, ahead=ahead))
        value, gate = self.out_proj(lay(y, self.route, cast("Size", tuple(x.shape[2:])))).chunk(2, dim=1)
        return value * gate.sigmoid()

    def start(self, batch: int) -> Tensor:
        """Return the state [N, C, n] that a sequence starts from, complex. Raises SpaceError with two directions."""
        if self.bidirectional:
            raise SpaceError("token_mixer.bidirectional: True, only a mixer of the past goes step by step")
        dtype = torch.promote_types(self.C.dtype, torch.float32).to_complex()
        return torch.zeros(batch, *self.A_imag.shape, dtype=dtype, device=self.C.device)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Take the route's next position, [N, C] -> [N, C]; from `start`, the outputs are those of the whole."""
        y, after = self.advanced(state, x)
        value, gate = F.linear(F.gelu(y + self.D * x), self.out_proj.weight, self.out_proj.bias).chunk(2, dim=1)
        return value * gate.sigmoid(), after


def joined(parts: Tensor) -> Tensor:
    """Return complex numbers from their parts: [..., 2] -> [...]."""
    return torch.complex(parts[..., 0], parts[..., 1])


def layer_cost(width: int, states: int, size: Size, *, bidirectional: bool) -> Cost:
    """Return the cost of the layer on a map of `size`: the projection and what all models have.

    The convolution goes by Fourier transforms, which count no MACs.
    """
    model = width * (2 + states * (2 + bidirectional))
    return linear(width, 2 * width, size[0] * size[1]) + Cost(model)
