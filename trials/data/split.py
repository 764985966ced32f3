"""Splits that depend on nothing but labels and a seed."""

from __future__ import annotations

import torch
from torch import Tensor


def stratified(labels: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return positions (kept, carved): of each class `share` is carved, at least one image each way, in rising order.

    Every class must have two images or more.
    """
    carved: list[Tensor] = []
    for label in labels.unique().tolist():
        members = (labels == label).nonzero().flatten()
        generator = torch.Generator().manual_seed(seed * 1_000_003 + label)
        count = min(max(1, round(len(members) * share)), len(members) - 1)
        carved.append(members[torch.randperm(len(members), generator=generator)[:count]])
    out = torch.cat(carved).sort().values
    keep = torch.ones(len(labels), dtype=torch.bool)
    keep[out] = False
    return keep.nonzero().flatten(), out


def stratified_sample(labels: Tensor, count: int, seed: int) -> Tensor:
    """Return about `count` positions, at least one of each class, as evenly spread over classes as the labels are."""
    if count >= len(labels):
        return torch.arange(len(labels))
    generator = torch.Generator().manual_seed(seed)
    picked: list[Tensor] = []
    for label in labels.unique().tolist():
        members = (labels == label).nonzero().flatten()
        share = max(1, round(count * len(members) / len(labels)))
        picked.append(members[torch.randperm(len(members), generator=generator)[:share]])
    return torch.cat(picked).sort().values
