"""Two-dimensional selective scan (SS2D): a map scanned along four routes, and what they tell each position summed."""

# the paper's capitals are the names everybody knows these tensors by
# ruff: noqa: N803

from __future__ import annotations

import torch
from torch import Tensor

from ops.cross_scan import Routes
from ops.cross_scan.reference import ROUTES
from ops.dispatch import DEVICES, Impl, implementation
from ops.selective_scan.registered import called, takes
from ops.selective_scan_2d.reference import reference
from ops.shapes import expect

__all__ = ["selective_scan_2d"]


def selective_scan_2d(
    x: Tensor,
    told: Tensor,
    step_weight: Tensor,
    A: Tensor,
    D: Tensor | None = None,
    delta_bias: Tensor | None = None,
    *,
    delta_softplus: bool = False,
    routes: Routes = "cross",
    impl: Impl | None = None,
) -> Tensor:
    """Scan the channels of a map along four routes, each with what it is told at each position, and sum the outputs.

    `told` holds for each route the R numbers from which `step_weight` makes a step size for each channel, then B and C
    of N states; see `selective_scan` and, for the routes, `cross_scan`. On a GPU one kernel reads maps where they
    lie and sums in place, without copies in the routes' order. Elsewhere it is a cross scan, a selective scan of 4 C
    channels in 4 groups, and a cross merge.

    Shapes:  x [B, C, H, W], told [B, 4, R + 2 N, H, W], step_weight [4, C, R], A [4 C, N], D and delta_bias [4 C]
             -> [B, C, H, W]; any strides, on a GPU best in channels_last.
    Dtypes:  output as x; the kernel computes and sums in float32.
    Impl:    see `ops.dispatch`. The kernel takes up to 16 states.
    Raises:  ValueError if a shape or the routes differ, A is complex or `impl` cannot be had.
    Source:  VMamba, arXiv:2401.10166, sec. 4.2; implementation our own.
    """
    _expect(x, told, step_weight, A, D, delta_bias, routes)
    if x.device.type in DEVICES:
        rank, states = step_weight.shape[2], A.shape[1]
        steps, b, c = torch.split(told.flatten(3), [rank, states, states], dim=2)
        given = x, told, step_weight, A, D, delta_bias
        if implementation("selective_scan_2d", impl, *given, kernel=lambda: takes(x.flatten(2), A, b, c)) == "triton":
            delta = torch.matmul(steps.transpose(2, 3), step_weight.transpose(1, 2)).transpose(2, 3)
            maps = x.flatten(2), delta, A, b, c, D, delta_bias, None
            return called(*maps, delta_softplus, routes, x.shape[3])[0].view(x.shape).to(x.dtype)
    return reference(x, told, step_weight, A, D, delta_bias, delta_softplus, routes, impl)


def _expect(
    x: Tensor, told: Tensor, step_weight: Tensor, A: Tensor, D: Tensor | None, delta_bias: Tensor | None, routes: str
) -> None:
    where = "selective_scan_2d"
    if routes not in ROUTES:
        raise ValueError(f"{where}: routes {routes!r}, allowed: {', '.join(map(repr, ROUTES))}")
    if A.is_complex():
        raise ValueError(f"{where}: A is complex, allowed: real")
    expect(where, "x", x, ("B", "C", "H", "W"))
    batch, channels, height, width = x.shape
    expect(where, "A", A, (4 * channels, "N"))
    expect(where, "step_weight", step_weight, (4, channels, "R"))
    expect(where, "told", told, (batch, 4, step_weight.shape[2] + 2 * A.shape[1], height, width))
    for name, vector in (("D", D), ("delta_bias", delta_bias)):
        if vector is not None:
            expect(where, name, vector, (4 * channels,))
