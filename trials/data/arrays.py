"""Images that a source holds as one array."""

from __future__ import annotations

from concurrent.futures import Executor

import torch
from torch import Tensor

from trials.data.fitting import fit_array
from trials.data.images import Images, Pixels


class ArrayPixels(Pixels):
    """Images in memory, uint8 [N, C, S, S]."""

    lazy = False

    def __init__(self, pixels: Tensor) -> None:
        self._pixels = pixels

    def take(self, indices: Tensor, pool: Executor | None = None) -> Tensor:
        """Return the images at `indices`; no pool is needed."""
        return self._pixels[indices]


class ArrayImages(Images):
    """Images of one size in memory, uint8 [N, C, H, W], with their labels, int64 [N]."""

    def __init__(self, pixels: Tensor, labels: Tensor) -> None:
        self.pixels = pixels
        self.labels = labels.to(torch.int64)
        self.channels = pixels.shape[1]
        self.side = min(pixels.shape[-2:])

    def fitted(self, side: int, channels: int) -> Pixels:
        """Return the images at `side`; gray ones are repeated where colour is asked for."""
        pixels = fit_array(self.pixels, side)
        return ArrayPixels(pixels if self.channels == channels else pixels.expand(-1, channels, -1, -1).contiguous())
