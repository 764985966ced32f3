"""The law: a deformable convolution, tap by tap, each tap a convolution of one pixel on the map sampled there."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ops.deformable_sampling.reference import reference as sampled


def reference(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> Tensor:
    """Convolve. See the public function; here every pair is rows, columns."""
    (batch, width), (rows, columns) = x.shape[:2], offset.shape[-2:]
    taps = weight.shape[2] * weight.shape[3]
    shifts = offset.reshape(batch, -1, taps, 2, rows, columns)
    value = x.permute(0, 2, 3, 1).unflatten(-1, (shifts.shape[1], -1))
    from_top = torch.arange(rows, dtype=x.dtype, device=x.device)[:, None] * stride[0] - padding[0]
    from_left = torch.arange(columns, dtype=x.dtype, device=x.device) * stride[1] - padding[1]
    total = None if bias is None else bias[:, None, None]
    for tap in range(taps):
        row, column = divmod(tap, weight.shape[3])
        y = from_top + row * dilation[0] + shifts[:, :, tap, 0]
        at = from_left + column * dilation[1] + shifts[:, :, tap, 1]
        share = torch.ones_like(y) if mask is None else mask.reshape(batch, -1, taps, rows, columns)[:, :, tap]
        places = (points.flatten(2).transpose(1, 2)[..., None] for points in (at, y, share))
        here = sampled(value, *places).flatten(2).transpose(1, 2).unflatten(-1, (rows, columns))
        added = F.conv2d(here, weight[:, :, row, column, None, None], groups=width // weight.shape[1])
        total = added if total is None else total + added
    assert total is not None
    return total
