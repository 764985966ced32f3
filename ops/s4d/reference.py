"""The law: a diagonal state-space model, one position after another."""

# the papers' capitals are the names everybody knows these tensors by
# ruff: noqa: N803

from __future__ import annotations

import torch
from torch import Tensor


def discrete(Lambda: Tensor, dt: Tensor, discretization: str) -> tuple[Tensor, Tensor]:
    """Return what a state keeps over a step and how much of B enters; Lambda [H, n] complex, dt [H, 1]."""
    x = dt * Lambda
    if discretization == "bilinear":
        return (1 + x / 2) / (1 - x / 2), dt / (1 - x / 2)
    return torch.exp(x), dt * grown(x)


def grown(x: Tensor) -> Tensor:
    """(exp(x) - 1) / x, by its series where digits would cancel."""
    small = x.abs() < 1e-2
    series = 1 + x / 2 * (1 + x / 3 * (1 + x / 4 * (1 + x / 5 * (1 + x / 6))))
    return torch.where(small, series, (torch.exp(x) - 1) / torch.where(small, 1, x))


def reference(Lambda: Tensor, B: Tensor, C: Tensor, dt: Tensor, length: int, discretization: str) -> Tensor:
    """Return the response [H, L] to a unit impulse, `zoh` or `bilinear`; Lambda, B and C [H, n] complex, dt [H]."""
    kept, share = discrete(Lambda, dt[:, None], discretization)
    state = share * B
    response: list[Tensor] = []
    for _ in range(length):
        response.append(2 * (C * state).sum(-1).real)
        state = kept * state
    return torch.stack(response, -1)
