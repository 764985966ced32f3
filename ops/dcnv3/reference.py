"""The law: DCNv3's sampling, tap by tap."""

from __future__ import annotations

import torch
from torch import Tensor

from ops.deformable_sampling.reference import reference as sampled


def reference(
    x: Tensor,
    offset: Tensor,
    mask: Tensor,
    *,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
    offset_scale: float,
    remove_center: bool,
) -> Tensor:
    """Sample and sum. See the public function; here every pair is rows, columns."""
    (batch, rows, columns), taps = offset.shape[:3], mask.shape[-1] // groups
    shifts = offset.reshape(batch, rows * columns, groups, taps, 2)
    weights = mask.reshape(batch, rows * columns, groups, taps)
    value = x.unflatten(-1, (groups, -1))
    half_y, half_x = (d * (k - 1) // 2 for d, k in zip(dilation, kernel, strict=True))
    query = torch.arange(rows * columns, device=x.device).to(offset.dtype)[:, None]
    middle_y = query.div(columns, rounding_mode="floor") * stride[0] - padding[0] + half_y
    middle_x = query.remainder(columns) * stride[1] - padding[1] + half_x
    total, tap = torch.zeros_like(value[:, :1, 0]), 0
    for column in range(kernel[1]):
        for row in range(kernel[0]):
            if remove_center and (row, column) == (kernel[0] // 2, kernel[1] // 2):
                continue
            at_x = middle_x + offset_scale * (column * dilation[1] - half_x + shifts[..., tap, 0])
            at_y = middle_y + offset_scale * (row * dilation[0] - half_y + shifts[..., tap, 1])
            total = total + sampled(value, at_x[..., None], at_y[..., None], weights[..., tap, None])
            tap += 1
    return total.view(batch, rows, columns, -1)
