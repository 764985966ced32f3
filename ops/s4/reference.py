"""The law: a dense state-space model, one position after another."""

# the papers' capitals are the names everybody knows these tensors by
# ruff: noqa: N803

from __future__ import annotations

import torch
from torch import Tensor


def dense(Lambda: Tensor, P: Tensor) -> Tensor:
    """Return A [H, N, N] = diag(Lambda2) - sum_r P2_r P2_r^H with X2 = [X, conj X]; Lambda [H, n], P [rank, H, n]."""
    low = paired(P).movedim(0, -1)
    return torch.diag_embed(paired(Lambda)) - low @ low.mH


def paired(kept: Tensor) -> Tensor:
    """[..., n] -> [..., 2 n]: the kept half and its conjugate."""
    return torch.cat((kept, kept.conj()), -1)


def bilinear(A: Tensor, dt: Tensor) -> tuple[Tensor, Tensor]:
    """Return what states keep, [H, N, N], and what B is multiplied by, [H, N, N], over a step dt [H]."""
    half = A * (dt / 2)[:, None, None]
    one = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    enter = torch.linalg.inv(one - half)
    return enter @ (one + half), enter * dt[:, None, None]


def reference(Lambda: Tensor, P: Tensor, B: Tensor, C: Tensor, dt: Tensor, length: int) -> Tensor:
    """Return the response [H, L] to a unit impulse; all complex but dt; C as it is before any length is set."""
    keep, enter = bilinear(dense(Lambda, P), dt)
    state, out_of = (enter @ paired(B)[..., None])[..., 0], paired(C)
    response: list[Tensor] = []
    for _ in range(length):
        response.append((out_of * state).sum(-1).real)
        state = (keep @ state[..., None])[..., 0]
    return torch.stack(response, -1)
