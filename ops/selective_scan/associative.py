"""The same scan in logarithmically many whole-tensor steps of plain PyTorch.

It keeps every state, as the reference does, but its graph grows with log L instead of L: this is what is traced,
compiled and exported, what complex states take, and what second derivatives go through. Neighbours are joined into one
step of half as many, those are scanned, and the rest is filled in (G. Blelloch, "Prefix Sums and Their Applications",
1990). No quotient of decays is ever formed, so nothing overflows however large the step sizes are.
"""

# ruff: noqa: N803

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ops.selective_scan.reference import read, spread, terms


def associative(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
    """Scan with ready step sizes; returns the output [B, D, L] before skip and gate, and the last state [B, D, N]."""
    states = scanned(*terms(u, delta, A, spread(B, A, u)))
    return read(states, spread(C, A, u)), states[:, :, -1]


def scanned(decay: Tensor, entering: Tensor) -> Tensor:
    """Return all states of h_t = decay_t * h_(t-1) + entering_t from h = 0, along axis 2 of [B, D, L, N]."""
    length = entering.shape[2]
    if length == 1:
        return entering
    first, second = decay[:, :, : length // 2 * 2 : 2], decay[:, :, 1::2]
    joined = torch.addcmul(entering[:, :, 1::2], second, entering[:, :, : length // 2 * 2 : 2])
    odd = scanned(first * second, joined)
    before = F.pad(odd[:, :, : (length - 1) // 2], (0, 0, 1, 0))
    even = torch.addcmul(entering[:, :, ::2], decay[:, :, ::2], before)
    if length % 2:
        odd = F.pad(odd, (0, 0, 0, 1))
    return torch.stack((even, odd), dim=3).flatten(2, 3)[:, :, :length]
