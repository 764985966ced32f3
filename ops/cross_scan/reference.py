"""The law: the routes of a scan through a map, there and back."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

Routes = Literal["cross", "unidirectional", "bidirectional", "rotation"]


class Reading(NamedTuple):
    """How a map becomes a sequence: transposed, its rows or columns in turned order, then read row by row."""

    transposed: bool = False
    flipped: tuple[int, ...] = ()

    def read(self, x: Tensor) -> Tensor:
        """[..., H, W] -> [..., H * W]."""
        x = x.transpose(-1, -2) if self.transposed else x
        return (x.flip(self.flipped) if self.flipped else x).flatten(-2)

    def lay(self, sequence: Tensor, height: int, width: int) -> Tensor:
        """[..., H * W] -> [..., H, W], the inverse of `read`."""
        x = sequence.unflatten(-1, (width, height) if self.transposed else (height, width))
        x = x.flip(self.flipped) if self.flipped else x
        return x.transpose(-1, -2) if self.transposed else x


_ROWS, _COLUMNS = Reading(), Reading(transposed=True)
ROUTES: dict[str, tuple[tuple[Reading, bool], ...]] = {
    "cross": ((_ROWS, False), (_COLUMNS, False), (_ROWS, True), (_COLUMNS, True)),
    "unidirectional": ((_ROWS, False),) * 4,
    "bidirectional": ((_ROWS, False), (_ROWS, False), (_ROWS, True), (_ROWS, True)),
    "rotation": ((_ROWS, False), (Reading(True, (-2,)), False), (_ROWS, True), (Reading(True, (-1,)), False)),
}
"""Per route, how the map is read, and whether the sequence then runs backward."""


def scan(x: Tensor, routes: str) -> Tensor:
    """[B, C, H, W] or [B, 4, C, H, W] -> [B, 4, C, H * W]. See the public function."""
    if x.ndim == 4:
        sequences = {reading: reading.read(x) for reading, _ in ROUTES[routes]}
        forward = [sequences[reading] for reading, _ in ROUTES[routes]]
    else:
        forward = [reading.read(own) for own, (reading, _) in zip(x.unbind(1), ROUTES[routes], strict=True)]
    return torch.stack([_turned(s, backward) for s, (_, backward) in zip(forward, ROUTES[routes], strict=True)], 1)


def merge(ys: Tensor, routes: str, summed: bool) -> Tensor:
    """[B, 4, C, H, W] -> [B, C, H * W] or [B, 4, C, H * W]. See the public function."""
    size = ys.shape[-2:]
    sequences = [
        (reading, _turned(sequence, backward))
        for sequence, (reading, backward) in zip(ys.flatten(-2).unbind(1), ROUTES[routes], strict=True)
    ]
    if not summed:
        return torch.stack([reading.lay(sequence, *size).flatten(-2) for reading, sequence in sequences], 1)
    sums: dict[Reading, Tensor] = {}
    for reading, sequence in sequences:
        sums[reading] = sums[reading] + sequence if reading in sums else sequence
    first, *others = (reading.lay(sequence, *size) for reading, sequence in sums.items())
    return sum(others, first).flatten(-2)


def _turned(sequence: Tensor, backward: bool) -> Tensor:
    return sequence.flip(-1) if backward else sequence
