"""The law: the state-space recurrence of Mamba-2, one position after another."""

# the paper's capitals are the names everybody knows these tensors by
# ruff: noqa: N803, N806

from __future__ import annotations

import torch
from torch import Tensor


def reference(
    x: Tensor, log_decay: Tensor, B: Tensor, C: Tensor, initial_state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Scan with ready inputs and decays; returns output and last state. See `ssd_discrete`."""
    heads = x.shape[2]
    B, C = (tensor.repeat_interleave(heads // tensor.shape[2], dim=2) for tensor in (B, C))
    state = torch.zeros_like(x[:, 0, :, :, None] * B[:, 0, :, None]) if initial_state is None else initial_state
    outputs: list[Tensor] = []
    for position in range(x.shape[1]):
        entering = x[:, position, :, :, None] * B[:, position, :, None]
        state = log_decay[:, position, :, None, None].exp() * state + entering
        outputs.append((state * C[:, position, :, None]).sum(-1))
    return torch.stack(outputs, 1), state
