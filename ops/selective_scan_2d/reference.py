"""The law: cross scan, selective scan, cross merge."""

# ruff: noqa: N803

from __future__ import annotations

import torch
from torch import Tensor

from ops.cross_scan import Routes, cross_merge, cross_scan
from ops.dispatch import Impl
from ops.selective_scan import selective_scan


def reference(
    x: Tensor, told: Tensor, step_weight: Tensor, A: Tensor, D: Tensor | None, delta_bias: Tensor | None,
    delta_softplus: bool, routes: Routes, impl: Impl | None = "reference",
) -> Tensor:  # fmt: skip
    """Read the map and what it is told along the routes, scan, and lay the sequences back. See the public function.

    What is told is fewer numbers than the step sizes made of it, so it is read along the routes before.
    """
    rank, states = step_weight.shape[2], A.shape[1]
    u, told = cross_scan(x, routes=routes), cross_scan(told, routes=routes)
    steps, b, c = torch.split(told, [rank, states, states], dim=2)
    delta = torch.matmul(step_weight, steps).flatten(1, 2)
    y = selective_scan(
        u.flatten(1, 2), delta, A, b, c, D, delta_bias=delta_bias, delta_softplus=delta_softplus, impl=impl
    )
    return cross_merge(y.view(u.shape).unflatten(-1, x.shape[2:]), routes=routes).view(x.shape)
