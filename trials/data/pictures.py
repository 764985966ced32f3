"""Images that lie in files of their own and are decoded one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from statistics import median_low
from typing import TypeVar

import torch
from PIL import Image
from torch import Tensor

from trials.data.arrays import ArrayPixels
from trials.data.errors import DataError
from trials.data.fitting import fit_picture, is_gray
from trials.data.images import Images, Pixels

T = TypeVar("T")

MEMORY_BYTES = 512 * 2**20
"""Fitted images up to this size are decoded once and kept; larger sets are decoded batch by batch."""
SURVEY = 50_000
"""At most this many files, evenly spread, are opened to learn sizes and modes."""
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
"""What PIL raises for files that are no images, are cut short, or claim absurd sizes."""


class PicturePixels(Pixels):
    """Images decoded when they are taken."""

    lazy = True

    def __init__(self, decode: Callable[[int], Tensor]) -> None:
        self._decode = decode

    def take(self, indices: Tensor, pool: Executor | None = None) -> Tensor:
        """Decode the images at `indices`, side by side on the pool's threads. Raises DataError naming a bad file."""
        each = pool.map if pool else map
        return torch.stack(list(each(self._decode, indices.tolist())))


class PictureImages(Images):
    """Images opened by position; `name_at(i)` is what an error calls the i-th."""

    def __init__(
        self, where: str, open_at: Callable[[int], Image.Image], name_at: Callable[[int], str], labels: Tensor
    ) -> None:
        self._where, self._open, self._name = where, open_at, name_at
        self.labels = labels.to(torch.int64)
        step = max(1, len(labels) // SURVEY)
        seen = self._every(range(0, len(labels), step), self._survey, None)
        self.channels = 1 if all(is_gray(mode) for _, mode in seen) else 3
        self.side = median_low([side for side, _ in seen])

    def fitted(self, side: int, channels: int) -> Pixels:
        """Decode all now where they fit in memory, else when they are taken."""

        def decode(index: int) -> Tensor:
            with self._open(index) as picture:
                return fit_picture(picture, side, channels)

        def decode_named(index: int) -> Tensor:
            return self._every([index], decode, None)[0]

        if len(self) * channels * side * side > MEMORY_BYTES:
            return PicturePixels(decode_named)
        with ThreadPoolExecutor(2) as pool:
            return ArrayPixels(torch.stack(self._every(range(len(self)), decode, pool)))

    def _survey(self, index: int) -> tuple[int, str]:
        with self._open(index) as picture:
            return min(picture.size), picture.mode

    def _every(self, indices: Sequence[int], read: Callable[[int], T], pool: Executor | None) -> list[T]:
        """Read all of `indices`, and refuse in one line naming the first that fails and how many do."""

        def attempt(index: int) -> T | Exception:
            try:
                return read(index)
            except UNREADABLE as error:
                return error

        results = list((pool.map if pool else map)(attempt, indices))
        bad = [(i, r) for i, r in zip(indices, results, strict=True) if isinstance(r, Exception)]
        if bad:
            index, error = bad[0]
            why = " ".join(str(error).split()) or type(error).__name__
            among = f"{len(bad)} of {len(results)} images cannot be read, the first is " if len(results) > 1 else ""
            raise DataError(f"{self._where}: {among}{self._name(index)!r} ({why})")
        return [r for r in results if not isinstance(r, Exception)]


def picture_files(where: str, paths: Sequence[Path], labels: Sequence[int]) -> PictureImages:
    """Return the image files at `paths` with their labels. Raises DataError if one is no image."""
    return PictureImages(where, lambda i: Image.open(paths[i]), lambda i: str(paths[i]), torch.tensor(labels))
