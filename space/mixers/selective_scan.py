"""Two-dimensional selective scan (SS2D), the token mixer of VMamba: a map read as sequences along four routes."""

from __future__ import annotations

from typing import Annotated, Literal, cast

import torch
from pydantic import AfterValidator, Field
from torch import Tensor, nn
from torch.nn import functional as F

from space.activations import GateActivation, activation
from space.cost import Cost, Size, convolution, linear
from space.families import TokenMixer
from space.flop_rule import FlopRule
from space.layers import Conv2d, LayerNorm2d, Pointwise, Ratio, odd, share
from space.selective_ssm import SCAN, SelectiveSsm, States, scan_flops, ssm_cost, step_rank

EPS = 1e-5
"""Of the layer normalisations inside the mixer."""
ROUTES = 4

Routes = Literal["cross", "unidirectional", "bidirectional", "rotation", "cascade"]
Output = Literal["norm", "none", "conv", "norm_conv", "softmax", "sigmoid"]


class SpatialSoftmax(nn.Module):
    """Softmax over all positions of each channel. [N, C, H, W] -> the same."""

    def forward(self, x: Tensor) -> Tensor:
        """Let the positions compete."""
        return x.flatten(2).softmax(dim=2).view(x.shape)


def _depthwise(width: int, side: int, *, bias: bool) -> Conv2d:
    return Conv2d(width, width, side, padding=side // 2, groups=width, bias=bias)


def _output(kind: Output, width: int) -> nn.Module:
    conv = [_depthwise(width, 3, bias=False)] if kind in ("conv", "norm_conv") else []
    norm = [LayerNorm2d(width, EPS)] if kind in ("norm", "norm_conv") else []
    squash = {"softmax": [SpatialSoftmax()], "sigmoid": [nn.Sigmoid()]}.get(kind, [])
    layers = [*norm, *conv, *squash]
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)


class SelectiveScan2d(nn.Module):
    """Project, convolve each channel, scan along four routes, sum, normalise, gate, project. [N, C, H, W] -> the same.

    The input projection writes what is scanned first, then the gate, if there is one.
    """

    def __init__(self, spec: SelectiveScan, width: int) -> None:
        super().__init__()
        inner = share(width, spec.ratio)
        self.routes: Routes = spec.routes
        self.gate = None if spec.gate == "none" else activation(spec.gate)
        self.in_proj = Pointwise(width, inner * (1 + (self.gate is not None)), bias=False)
        self.conv = _depthwise(inner, spec.kernel_size, bias=spec.conv_bias) if spec.kernel_size > 1 else nn.Identity()
        self.ssm = SelectiveSsm(inner, step_rank(width), spec.states, ROUTES)
        self.output = _output(spec.output, inner)
        self.out_act = activation(spec.out_act)
        self.out_proj = Pointwise(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Mix positions along the routes, and channels by the projections."""
        x, gate = (self.in_proj(x), None) if self.gate is None else self.in_proj(x).chunk(2, dim=1)
        x = F.silu(self.conv(x))
        y = self._cascade(x) if self.routes == "cascade" else self._crossed(x)
        y = self.out_act(self.output(y))
        return self.out_proj(y if self.gate is None else y * self.gate(gate))

    def _crossed(self, x: Tensor) -> Tensor:
        """Scan whole maps along the four routes and sum what each position is told."""
        routes = cast('Literal["cross", "unidirectional", "bidirectional", "rotation"]', self.routes)
        return self.ssm.over_map(x, routes)

    def _cascade(self, x: Tensor) -> Tensor:
        """Scan each row, then each column, there and back, normalising before each pass."""
        x = self._rows(_normalised(x), slice(0, 2))
        return self._rows(_normalised(x).transpose(2, 3), slice(2, 4)).transpose(2, 3)

    def _rows(self, x: Tensor, routes: slice) -> Tensor:
        """Scan each row as a sequence of its own, there and back; what comes back is added as it comes, not turned."""
        told = self.ssm.project(x, routes)
        there, back = told.permute(0, 3, 1, 2, 4).flatten(0, 1).unbind(1)
        rows = x.transpose(1, 2).flatten(0, 1)
        y = self.ssm(torch.stack([rows, rows.flip(-1)], 1), torch.stack([there, back.flip(-1)], 1), routes)
        return y.sum(1).view(x.transpose(1, 2).shape).transpose(1, 2)


def _normalised(x: Tensor) -> Tensor:
    """Layer normalisation over the channels of each position, without parameters."""
    return F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2], eps=EPS).permute(0, 3, 1, 2)


def _no_conv_or_odd(side: int) -> int:
    return side if side == 1 else odd(side)


class SelectiveScan(TokenMixer):
    """Selective state-space scans of a map along four routes (SS2D; VMamba, arXiv:2401.10166, sec. 4).

    The defaults are those of the networks of the paper's final version (forward type v05_noz); the first ones had 16
    states, a gate and a convolution with bias (v0).
    """

    kind: Literal["selective_scan"] = "selective_scan"
    ratio: Ratio = 2.0
    """Width that is scanned over width."""
    states: States = 1
    """States of each channel and route."""
    routes: Routes = "cross"
    """cross: rows and columns, there and back. unidirectional: rows, four times. bidirectional: rows twice there, twice
    back. rotation: rows after 0 to 3 quarter turns. cascade: each row for itself, there and back, then each column;
    what comes back is added without being turned, as in the published code (forward type v052dc)."""
    gate: Literal["none", "identity", "silu"] = "none"
    """What a second projection of the input passes through before it multiplies the output; none: there is none."""
    kernel_size: Annotated[int, Field(ge=1, le=61), AfterValidator(_no_conv_or_odd)] = 3
    """Side of the depthwise convolution before the scan, in pixels, odd; 1: none. A SiLU follows in any case."""
    conv_bias: bool = False
    """Bias of that convolution."""
    output: Output = "norm"
    """What the sum of the routes passes through: layer normalisation, nothing, a depthwise 3x3 convolution, both,
    softmax over the positions, sigmoid."""
    out_act: GateActivation = "identity"
    """The activation after that."""

    def build(self, width: int) -> nn.Module:
        """Return a module [N, width, H, W] -> [N, width, H, W]."""
        return SelectiveScan2d(self, width)

    def cost(self, width: int, size: Size) -> Cost:
        """Return the cost on a map of `size`; the scan itself has no matrix products, see `added_flops`."""
        inner, positions = share(width, self.ratio), size[0] * size[1]
        total = linear(width, inner * (1 + (self.gate != "none")), positions, bias=False)
        if self.kernel_size > 1:
            total += convolution(inner, inner, self.kernel_size, size, groups=inner, bias=self.conv_bias)
        total += ssm_cost(inner, step_rank(width), self.states, ROUTES, positions)
        if self.output in ("norm", "norm_conv"):
            total += Cost(2 * inner)
        if self.output in ("conv", "norm_conv"):
            total += convolution(inner, inner, 3, size, groups=inner, bias=False)
        return total + linear(inner, width, positions, bias=False)

    def added_flops(self, width: int, size: Size) -> dict[FlopRule, int]:
        """Return what published counts add for the scan on a map of `size`."""
        return {SCAN: scan_flops(share(width, self.ratio), ROUTES, self.states, size)}
