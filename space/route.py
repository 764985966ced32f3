"""One route through a map: its positions in an order, as the mixers for sequences read them."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from space.cost import Size

Route = Literal["rows", "columns", "rows_reversed", "columns_reversed"]
"""Row by row or column by column, from the upper left or, reversed, towards it."""


def read(x: Tensor, route: Route) -> Tensor:
    """Return the positions of a map in the order of the route: [N, C, H, W] -> [N, C, H * W]."""
    sequence = (x.transpose(2, 3) if route.startswith("columns") else x).flatten(2)
    return sequence.flip(2) if route.endswith("reversed") else sequence


def lay(sequence: Tensor, route: Route, size: Size) -> Tensor:
    """Return the map of `size` that `read` reads as this sequence: [N, C, H * W] -> [N, C, H, W]."""
    x = sequence.flip(2) if route.endswith("reversed") else sequence
    height, width = size
    if route.startswith("columns"):
        return x.reshape(*x.shape[:2], width, height).transpose(2, 3)
    return x.reshape(*x.shape[:2], height, width)
