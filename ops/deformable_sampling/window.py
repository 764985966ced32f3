"""The regular places of a kernel's taps, from which learned offsets are counted in DCNv3 and DCNv4."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

Pair = tuple[int, int]
"""Rows and columns."""


class Window(NamedTuple):
    """A kernel as it moves over a map; taps go column by column, and down each column."""

    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    without_center: bool = False

    @classmethod
    def of(
        cls, kernel: int | Pair, stride: int | Pair, padding: int | Pair, dilation: int | Pair, without_center: bool
    ) -> Window:
        """Read one number as both rows and columns."""
        pairs = [(side, side) if isinstance(side, int) else side for side in (kernel, stride, padding, dilation)]
        return cls(pairs[0], pairs[1], pairs[2], pairs[3], without_center)

    @property
    def taps(self) -> list[Pair]:
        """Row and column of each tap, in order."""
        rows, columns = self.kernel
        center = (rows // 2, columns // 2) if self.without_center else None
        return [(row, column) for column in range(columns) for row in range(rows) if (row, column) != center]

    def out_size(self, operator: str, size: Pair) -> Pair:
        """Return the positions of the kernel on a map, rows and columns; raises ValueError if there are none."""
        rows, columns = (
            (side + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
            for side, pad, dilation, kernel, stride in zip(
                size, self.padding, self.dilation, self.kernel, self.stride, strict=True
            )
        )
        if not self.taps:
            raise ValueError(f"{operator}: kernel of 1 x 1 without its center has no taps, allowed: more")
        if rows < 1 or columns < 1:
            kernel, found = (f"{height} x {width}" for height, width in (self.kernel, size))
            raise ValueError(
                f"{operator}: kernel of {kernel} on a map of {found}, allowed: a map that holds it when padded"
            )
        return rows, columns

    def places(self, offset: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """Return x and y in pixels, [N, Q, G, P], from offsets [N, Ho, Wo, G, P, 2] in pairs (x, y).

        The scale spreads the taps about the middle of the kernel, and the offsets alike.
        """
        rows, columns = offset.shape[1:3]
        tap_rows, tap_columns = zip(*self.taps, strict=True)
        y = self._along(0, rows, tap_rows, scale, offset)[:, None]
        x = self._along(1, columns, tap_columns, scale, offset)[None, :]
        d_x, d_y = offset.flatten(1, 2).unbind(-1)
        size = (rows, columns, offset.shape[-2])
        x, y = (base.expand(size).reshape(-1, 1, size[2]) for base in (x, y))
        return torch.add(x, d_x, alpha=scale), torch.add(y, d_y, alpha=scale)

    def _along(self, axis: int, count: int, taps: tuple[int, ...], scale: float, like: Tensor) -> Tensor:
        """Return places along one axis without offsets, [count, P]."""
        half = self.dilation[axis] * (self.kernel[axis] - 1) // 2
        middles = (
            torch.arange(count, dtype=like.dtype, device=like.device) * self.stride[axis] - self.padding[axis] + half
        )
        reach = [scale * (tap * self.dilation[axis] - half) for tap in taps]
        return middles[:, None] + torch.tensor(reach, dtype=like.dtype, device=like.device)
