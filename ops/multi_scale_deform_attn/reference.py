"""The law: multi-scale deformable attention, query by query and point by point."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import floor

import torch
from torch import Tensor


def reference(value: Tensor, locations: Tensor, weights: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
    """Attend without gradients, in plain Python. See `multi_scale_deform_attn`."""
    batch, queries, heads, levels, points, _ = locations.shape
    out = value.new_zeros(batch, queries, heads, value.shape[-1])
    starts = [sum(height * width for height, width in sizes[:level]) for level in range(levels)]
    for image, query, head, level, point in product(*map(range, (batch, queries, heads, levels, points))):
        height, width = sizes[level]
        place = locations[image, query, head, level, point].tolist()
        x, y = place[0] * width - 0.5, place[1] * height - 0.5
        for column, row in product((floor(x), floor(x) + 1), (floor(y), floor(y) + 1)):
            if 0 <= column < width and 0 <= row < height:
                share = (1 - abs(x - column)) * (1 - abs(y - row)) * weights[image, query, head, level, point]
                out[image, query, head] += share * value[image, starts[level] + row * width + column, head]
    return torch.flatten(out, 2)
