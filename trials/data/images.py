"""The two forms of a set of images: as stored (`Images`), and fitted to one size (`Pixels`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from concurrent.futures import Executor

from torch import Tensor

LARGE = 64
"""Above this resolution (pixels) images keep a margin, from which training cuts random crops."""


def stored_side(resolution: int) -> int:
    """Return the side in pixels at which images are kept for training at `resolution`: 224 -> 256, 32 -> 32."""
    return resolution if resolution <= LARGE else resolution * 8 // 7


class Pixels(ABC):
    """Images of one size, ready to be taken in batches."""

    lazy: bool
    """Whether taking a batch decodes files."""

    @abstractmethod
    def take(self, indices: Tensor, pool: Executor | None = None) -> Tensor:
        """Return the images at `indices` as uint8 [B, C, S, S]; lazy ones are decoded by the pool's threads."""


class Images(ABC):
    """Labelled images as they are stored, of any size."""

    labels: Tensor
    """int64 [N], positions in the class names."""
    channels: int
    """1 when every image is gray, else 3."""
    side: int
    """The typical shorter side in pixels."""

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def fitted(self, side: int, channels: int) -> Pixels:
        """Return the images as squares of `side` pixels. Raises DataError if one cannot be read."""
