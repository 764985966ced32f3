"""The law: weighted sums of bilinear samples, corner by corner."""

from __future__ import annotations

import torch
from torch import Tensor


def reference(value: Tensor, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Sum weighted samples; any device, differentiable any number of times. See the public function."""
    height, width = value.shape[1:3]
    left, top = x.detach().floor(), y.detach().floor()
    reached = (x > -1) & (x < width) & (y > -1) & (y < height)
    total = torch.zeros_like(weight)[..., None] * value[:, 0, 0, :, None].unsqueeze(1)
    for column, across in ((left, 1 - (x - left)), (left + 1, x - left)):
        for row, down in ((top, 1 - (y - top)), (top + 1, y - top)):
            inside = reached & (column >= 0) & (column < width) & (row >= 0) & (row < height)
            share = torch.where(inside, across * down * weight, 0)
            total = total + share[..., None] * _at(value, column, row, inside)
    return total.sum(3)


def _at(value: Tensor, column: Tensor, row: Tensor, inside: Tensor) -> Tensor:
    """Read [N, H, W, G, D] at columns and rows [N, Q, G, P], where inside -> [N, Q, G, P, D]."""
    image = torch.arange(value.shape[0], device=value.device)[:, None, None, None]
    group = torch.arange(value.shape[3], device=value.device)[:, None]
    column, row = (torch.where(inside, place, 0).long() for place in (column, row))
    return value[image, row, column, group]
