"""How maps [N, C, H, W] lie in memory: contiguous or in channels_last."""

from __future__ import annotations

import torch
from torch import Tensor


def is_last(x: Tensor) -> bool:
    """Whether the channels of a position lie side by side; maps that are also contiguous count as contiguous."""
    return not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)


def laid(x: Tensor, other: Tensor | None = None) -> Tensor:
    """Return x contiguous or in channels_last, as it is or as `other` is."""
    if other is not None:
        return x.contiguous(memory_format=torch.channels_last if is_last(other) else torch.contiguous_format)
    return x if is_last(x) else x.contiguous()


def like(x: Tensor) -> Tensor:
    """Return room for a map in the layout of x."""
    layout = torch.channels_last if is_last(x) else torch.contiguous_format
    return torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=layout)


def is_in_rows(x: Tensor) -> bool:
    """Whether the channels of a position lie side by side, and all positions equally far apart: channels_last, or some
    of the channels of such a map."""
    _, width, height, columns = x.shape
    apart = x.stride(3) if columns > 1 else x.stride(2) if height > 1 else x.stride(0)
    wanted = (height * columns * apart, 1, columns * apart, apart)
    return all(n == 1 or s == w for n, s, w in zip(x.shape, x.stride(), wanted, strict=True)) and apart >= width


def rows(x: Tensor) -> tuple[int, int, int] | None:
    """Return a map as rows of numbers side by side: how many, of how many numbers, and how far apart.

    A row is the whole map, an image, or a position; None if the map is none of these.
    """
    if x.is_contiguous() or is_last(x):
        return 1, x.numel(), x.numel()
    if x[0].is_contiguous():
        return len(x), x[0].numel(), x.stride(0)
    if is_in_rows(x):
        return x.numel() // x.shape[1], x.shape[1], x.stride(3) if x.shape[3] > 1 else x.stride(2)
    return None


def room(x: Tensor) -> Tensor:
    """Return room for a map that lies in memory as x does, a part of the channels of another map without the gaps."""
    last = is_last(x) or (not x[0].is_contiguous() and is_in_rows(x))
    layout = torch.channels_last if last else torch.contiguous_format
    return torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=layout)


def extent(x: Tensor) -> int:
    """Return how far the last number of a map lies from its first, in numbers."""
    return sum((n - 1) * s for n, s in zip(x.shape, x.stride(), strict=True))
