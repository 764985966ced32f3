"""Data as training sees it: fitted to one resolution, split, with what normalising and augmenting need to know."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass

import torch
from torch import Tensor

from trials.data.errors import DataError
from trials.data.images import Pixels
from trials.data.split import stratified_sample


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """One part of the data: positions in a set of images, and their labels (int64 [N])."""

    name: str
    labels: Tensor
    pixels: Pixels
    positions: Tensor
    resolution: int

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lazy(self) -> bool:
        """Whether taking a batch decodes files."""
        return self.pixels.lazy

    def batch(self, indices: Tensor, *, margin: bool = False, pool: Executor | None = None) -> Tensor:
        """Return images as uint8 [B, C, resolution, resolution].

        With `margin`, large images keep the border from which random crops are cut: [B, C, S, S], S >= resolution.
        Raises DataError if a file cannot be decoded.
        """
        images = self.pixels.take(self.positions[indices], pool)
        edge = (images.shape[-1] - self.resolution) // 2
        if margin or not edge:
            return images
        return images[..., edge : edge + self.resolution, edge : edge + self.resolution]

    def sample(self, count: int, seed: int = 0) -> Split:
        """Return a fixed, stratified part of about `count` images; all of them where `count` is not less."""
        if count >= len(self):
            return self
        chosen = stratified_sample(self.labels, count, seed)
        return Split(self.name, self.labels[chosen], self.pixels, self.positions[chosen], self.resolution)


@dataclass(frozen=True, slots=True, eq=False)
class ImageData:
    """Labelled images, split for good. The test split stays sealed until `unsealed()` is called, once, at the end."""

    name: str
    spec: str
    classes: tuple[str, ...]
    channels: int
    resolution: int
    """Side of the square images in pixels."""
    fingerprint: str
    """16 hex digits of the content, the classes and the split; the resolution does not enter."""
    mean: tuple[float, ...]
    """Per channel over the training images, in [0, 1]."""
    std: tuple[float, ...]
    mirror: bool
    """Whether a mirrored image keeps its class."""
    train: Split
    validation: Split
    sealed_test: Split
    is_sealed: bool = True

    @property
    def test(self) -> Split:
        """The test images. Raises DataError while sealed: a search must not see them."""
        if self.is_sealed:
            raise DataError(f"{self.name}: the test images are sealed, data.unsealed() opens them for a final figure")
        return self.sealed_test

    def unsealed(self) -> ImageData:
        """Return the same data with the test split open; for the final figure of a finished network only."""
        return ImageData(
            self.name, self.spec, self.classes, self.channels, self.resolution, self.fingerprint, self.mean, self.std,
            self.mirror, self.train, self.validation, self.sealed_test, is_sealed=False,
        )  # fmt: skip

    def normalised(self, images: Tensor) -> Tensor:
        """Bring uint8 [B, C, H, W] to float with zero mean and unit deviation per channel, on the same device."""
        mean = torch.tensor(self.mean, device=images.device).view(1, -1, 1, 1) * 255
        std = torch.tensor(self.std, device=images.device).view(1, -1, 1, 1) * 255
        return ((images - mean) / std).contiguous(memory_format=torch.channels_last)


def statistics(split: Split, limit: int = 4096) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation per channel in [0, 1] over at most about `limit` training images."""
    part = split.sample(limit)
    total, squares, count = 0.0, 0.0, 0
    for indices in torch.arange(len(part)).split(256):
        images = part.batch(indices).double() / 255
        total, squares = total + images.sum((0, 2, 3)), squares + images.square().sum((0, 2, 3))
        count += images.numel() // images.shape[1]
    mean = torch.as_tensor(total) / count
    std = (torch.as_tensor(squares) / count - mean.square()).clamp_min(0).sqrt().clamp_min(1 / 255)
    return tuple(mean.tolist()), tuple(std.tolist())
