"""The law: the selective scan, one position after another."""

# the paper's capitals are the names everybody knows these tensors by
# ruff: noqa: N803

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def reference(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    *,
    delta_softplus: bool = False,
) -> tuple[Tensor, Tensor]:
    """Scan with every state of every position in memory; returns output and last state. See the public function."""
    delta = steps(delta, delta_bias, delta_softplus=delta_softplus)
    decay, entering = terms(u, delta, A, spread(B, A, u))
    out_of = spread(C, A, u).expand_as(decay)
    state = torch.zeros_like(decay[:, :, 0])
    outputs: list[Tensor] = []
    for position in range(u.shape[-1]):
        state = decay[:, :, position] * state + entering[:, :, position]
        outputs.append(read(state, out_of[:, :, position]))
    return finish(torch.stack(outputs, -1), u, D, z), state


def steps(delta: Tensor, delta_bias: Tensor | None, *, delta_softplus: bool) -> Tensor:
    """Return the step sizes [B, D, L]: bias first, then softplus."""
    if delta_bias is not None:
        delta = delta + delta_bias[:, None]
    return F.softplus(delta) if delta_softplus else delta


def spread(values: Tensor, A: Tensor, u: Tensor) -> Tensor:
    """Bring B or C in any of their layouts to [B or 1, D, L or 1, N]."""
    channels, length = u.shape[1:]
    if values.ndim == 2:
        return values[None, :, None, :]
    if values.ndim == 3:
        values = values[:, None]
    if A.is_complex():
        values = torch.view_as_complex(values.unflatten(-1, (length, 2)).contiguous())
    return values.transpose(-1, -2).repeat_interleave(channels // values.shape[1], dim=1)


def terms(u: Tensor, delta: Tensor, A: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
    """Return what a state keeps of its past and what enters it, both [B, D, L, N]; `B` as `spread` gives it."""
    return torch.exp(delta[..., None] * A[:, None, :]), (delta * u)[..., None] * B


def read(state: Tensor, C: Tensor) -> Tensor:
    """Return <state, C> over the last axis; conjugate pairs of complex states count by their kept half."""
    out = (state * C).sum(-1)
    return 2 * out.real if out.is_complex() else out


def finish(y: Tensor, u: Tensor, D: Tensor | None, z: Tensor | None) -> Tensor:
    """Add the skip `D * u`, then gate by SiLU(z)."""
    if D is not None:
        y = y + D[:, None] * u
    return y if z is None else y * F.silu(z)
