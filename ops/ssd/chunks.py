"""The same scan in chunks: products of matrices within a chunk, a short scan from chunk to chunk.

Within a chunk of Q positions the recurrence is attention without softmax, masked by decays; one chunk as long as the
sequence is the quadratic form. Decays between two positions are sums of their own logarithms, never differences of long
sums, so they keep their digits where steps of very different sizes meet.

Axes: b batch, c chunks, q and k positions of a chunk, g groups, h heads of a group, p channels of a head, n states.
"""

# ruff: noqa: N803, N806

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ops.selective_scan.associative import scanned


def chunks(
    x: Tensor, log_decay: Tensor, B: Tensor, C: Tensor, initial_state: Tensor | None, chunk: int
) -> tuple[Tensor, Tensor]:
    """Scan as the reference does, `chunk` positions at a time."""
    (batch, length, heads, width), (groups, states) = x.shape, B.shape[2:]
    chunk = min(chunk, length)
    # beyond the end nothing enters and nothing decays
    over = -length % chunk
    x, B, C = (F.pad(tensor, (0, 0, 0, 0, 0, over)).unflatten(1, (-1, chunk)) for tensor in (x, B, C))
    x = x.unflatten(3, (groups, -1)).permute(0, 1, 3, 4, 2, 5)  # b c g h q p
    B, C = (tensor.transpose(2, 3)[:, :, :, None] for tensor in (B, C))  # b c g 1 q n
    log_decay = F.pad(log_decay, (0, 0, 0, over)).unflatten(1, (-1, chunk))
    log_decay = log_decay.unflatten(3, (groups, -1)).permute(0, 1, 3, 4, 2)  # b c g h q
    between = _sums_between(log_decay)
    since_start, to_end = log_decay.cumsum(-1).exp()[..., None], between[..., -1, :].exp()[..., None]
    y = ((C @ B.mT) * between.exp()) @ x
    entering = (x * to_end).mT @ B  # b c g h p n
    after, before = _across(since_start[..., -1, :], entering.flatten(4), initial_state)
    y = y + (C @ before.unflatten(-1, (width, states)).mT) * since_start
    y = y.permute(0, 1, 4, 2, 3, 5).reshape(batch, -1, heads, width)[:, :length]
    return y, after.view(batch, heads, width, states)


def _sums_between(log_decay: Tensor) -> Tensor:
    """Return the sum over positions (j, i] where i >= j, minus infinity elsewhere; [..., k] -> [..., i, j]."""
    count = log_decay.shape[-1]
    order = torch.arange(count, device=log_decay.device)
    after = order[:, None] > order
    sums = torch.where(after, log_decay[..., :, None], 0).cumsum(-2)
    return sums.masked_fill(order[:, None] < order, -torch.inf)


def _across(decay: Tensor, entering: Tensor, initial_state: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the last state and those that chunks find, from [b, c, g, h, 1] and [b, c, g, h, p * n]."""
    shape = entering.shape
    decay, entering = (tensor.flatten(2, 3).transpose(1, 2) for tensor in (decay, entering))  # b, g * h, c, ...
    first = torch.zeros_like(entering[:, :, 0]) if initial_state is None else initial_state.flatten(2)
    if initial_state is not None:
        entering = torch.cat(
            (torch.addcmul(entering[:, :, 0], decay[:, :, 0], first)[:, :, None], entering[:, :, 1:]), 2
        )
    after = scanned(decay, entering)
    before = torch.cat((first[:, :, None], after[:, :, :-1]), 2)
    return after[:, :, -1], before.transpose(1, 2).view(shape)
