"""Multi-scale deformable attention: each query samples a few places on every level of a pyramid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ops.deformable_sampling import deformable_sampling
from ops.shapes import expect

__all__ = ["flash_deform_attn", "multi_scale_deform_attn"]


def multi_scale_deform_attn(
    value: Tensor, locations: Tensor, weights: Tensor, *, sizes: Sequence[tuple[int, int]]
) -> Tensor:
    """Sum, for each query and head, samples of all levels times their weights.

    A location (x, y) counts from 0 at the left and upper edge of a map to 1 at the right and lower one; the middle of
    the first pixel is at 0.5 / W. Zeros lie beyond the border. Weights are taken as they are.

    Shapes:  value [B, S, G, D], the levels' positions one after another, S the sum of H * W over `sizes`;
             locations [B, Q, G, L, K, 2], weights [B, Q, G, L, K] -> [B, Q, G * D]; any strides.
    Dtypes:  output as value; computed in the widest of all dtypes, at least fp32.
    Cost:    as `deformable_sampling`.
    Raises:  ValueError if a shape differs.
    Source:  Deformable DETR, arXiv:2010.04159, sec. 4.1; implementation our own.
    """
    where = "multi_scale_deform_attn"
    if not sizes:
        raise ValueError(f"{where}: no sizes, allowed: at least one level")
    expect(where, "value", value, ("B", sum(height * width for height, width in sizes), "G", "D"))
    expect(where, "locations", locations, (value.shape[0], "Q", value.shape[2], len(sizes), "K", 2))
    expect(where, "weights", weights, tuple(locations.shape[:-1]))
    # places need more digits than half precision has
    dtype = torch.promote_types(torch.promote_types(value.dtype, locations.dtype), torch.float32)
    levels = value.to(dtype).split([height * width for height, width in sizes], 1)
    total: Tensor | None = None
    for level, (maps, (height, width)) in enumerate(zip(levels, sizes, strict=True)):
        x, y = locations[:, :, :, level].to(dtype).unbind(-1)
        here = (x * width - 0.5, y * height - 0.5, weights[:, :, :, level])
        samples = deformable_sampling(maps.unflatten(1, (height, width)), *here)
        total = samples if total is None else total + samples
    assert total is not None
    return total.flatten(2).to(value.dtype)


def flash_deform_attn(value: Tensor, packed: Tensor, *, sizes: Sequence[tuple[int, int]], points: int) -> Tensor:
    """Attend as `multi_scale_deform_attn` from one tensor of locations and logits; softmax over all L * K logits.

    Shapes:  value [B, S, G, D], packed [B, Q, G, 3 * L * K]: for each head L * K pairs (x, y), level by level and point
             by point, then L * K logits in the same order; K = `points` -> [B, Q, G * D].
    Dtypes, cost and errors as there.
    Source:  the attention of DCNv4's package, arXiv:2401.06197, sec. 3.2; conventions of OpenGVLab/DCNv4@4b848f7;
             implementation our own.
    """
    count = len(sizes) * points
    expect("flash_deform_attn", "packed", packed, (value.shape[0], "Q", value.shape[2], 3 * count))
    locations, logits = packed.to(torch.promote_types(packed.dtype, torch.float32)).split((2 * count, count), -1)
    levels = (len(sizes), points)
    weights = logits.softmax(-1).unflatten(-1, levels)
    return multi_scale_deform_attn(value, locations.unflatten(-1, (*levels, 2)), weights, sizes=sizes)
