"""The same sums by PyTorch's grid_sample: one operator to trace and export, and a kernel on every device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def grids(value: Tensor, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Sum weighted samples as the reference does; its gradients cannot be differentiated again.

    Places are scaled to [-1, 1] and back, so the slope at a whole number may be that to its left or right.
    """
    batch, height, width, groups, depth = value.shape
    maps = value.permute(0, 3, 4, 1, 2).reshape(batch * groups, depth, height, width)
    grid = torch.stack(((2 * x + 1) / width - 1, (2 * y + 1) / height - 1), -1)
    grid, weight = (points.transpose(1, 2).flatten(0, 1) for points in (grid, weight))
    samples = F.grid_sample(maps, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    out = (samples * weight[:, None]).sum(-1)
    return out.view(batch, groups, depth, -1).permute(0, 3, 1, 2)
