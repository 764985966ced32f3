"""Augment batches: shifts, crops, mirroring, erasing, mixing. Every draw comes from the generator that is passed in.

Shapes: B batch, C channels, S side as stored, R resolution. Draws are made on the CPU, applied where the images are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from trials.data import ImageData
from trials.data.images import LARGE
from trials.training.rand_augment import rand_augment
from trials.training.recipe import Recipe

SHIFT = 12
"""Images are shifted by up to 1/12 of their side: 2 of 32 pixels."""
CROP_SHARE = (0.35, 1.0)
"""Share of a large image's area that a random crop keeps."""
CROP_RATIO = 4 / 3
ERASE_SHARE = (0.02, 0.25)
"""Share of the area that random erasing blanks."""


@dataclass(frozen=True, slots=True)
class Targets:
    """What a batch is to be recognised as: `labels`, and with weight 1 - `share` the labels mixed in."""

    labels: Tensor
    mixed: Tensor
    share: float

    def loss(self, logits: Tensor, smoothing: float) -> Tensor:
        """Return the mean cross-entropy in nats of logits [B, classes]."""
        loss = functional.cross_entropy(logits, self.labels, label_smoothing=smoothing)
        if self.share == 1:
            return loss
        other = functional.cross_entropy(logits, self.mixed, label_smoothing=smoothing)
        return self.share * loss + (1 - self.share) * other


def augmented(
    images: Tensor, labels: Tensor, data: ImageData, recipe: Recipe, generator: Generator
) -> tuple[Tensor, Targets]:
    """Turn uint8 [B, C, S, S] into normalised, augmented float [B, C, R, R] and its targets."""
    if recipe.augment != "none":
        if data.resolution > LARGE:
            images = random_crop(images, data.resolution, generator)
            if recipe.augment == "strong" and data.channels == 3:
                images = rand_augment(images, generator)
        else:
            images = shift(images, data.resolution // SHIFT, generator)
        if data.mirror:
            images = mirror(images, generator)
    out = data.normalised(images)
    if recipe.erase:
        out = erase(out, recipe.erase, generator)
    return mix(out, labels, recipe, generator)


def mirror(images: Tensor, generator: Generator) -> Tensor:
    """Flip half of the images left to right."""
    flipped = (torch.rand(len(images), generator=generator) < 0.5).to(images.device)
    return torch.where(flipped.view(-1, 1, 1, 1), images.flip(-1), images)


def shift(images: Tensor, most: int, generator: Generator) -> Tensor:
    """Move each image by up to `most` pixels each way; black comes in at the border."""
    count, _, height, width = images.shape
    padded = functional.pad(images, (most,) * 4).permute(0, 2, 3, 1)
    top, left = torch.randint(0, 2 * most + 1, (2, count, 1), generator=generator)
    rows = (top + torch.arange(height)).to(images.device)
    columns = (left + torch.arange(width)).to(images.device)
    every = torch.arange(count, device=images.device).view(-1, 1, 1)
    return padded[every, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def random_crop(images: Tensor, resolution: int, generator: Generator) -> Tensor:
    """Cut a random part of each image, of random area and aspect, and bring it to `resolution` (uint8)."""
    count, _, height, width = images.shape
    draws = torch.rand(4, count, generator=generator)
    area = CROP_SHARE[0] + draws[0] * (CROP_SHARE[1] - CROP_SHARE[0])
    ratio = CROP_RATIO ** (2 * draws[1] - 1)
    tall, wide = (area / ratio).sqrt().clamp_max(1), (area * ratio).sqrt().clamp_max(1)
    out = torch.empty(count, images.shape[1], resolution, resolution, dtype=torch.uint8, device=images.device)
    for index in range(count):
        rows, columns = max(1, int(tall[index] * height)), max(1, int(wide[index] * width))
        top, left = int(draws[2, index] * (height - rows + 1)), int(draws[3, index] * (width - columns + 1))
        part = images[index : index + 1, :, top : top + rows, left : left + columns]
        size = (resolution, resolution)
        if part.is_cuda:  # no uint8 interpolation there
            part = functional.interpolate(part.float(), size, mode="bilinear", antialias=True).round().clamp(0, 255)
            out[index] = part[0].to(torch.uint8)
        else:
            out[index] = functional.interpolate(part, size, mode="bilinear", antialias=True)[0]
    return out


def erase(images: Tensor, probability: float, generator: Generator) -> Tensor:
    """Set a random rectangle of some images to the mean colour (zero after normalising)."""
    count, _, height, width = images.shape
    draws = torch.rand(5, count, 1, 1, generator=generator)
    area = ERASE_SHARE[0] + draws[1] * (ERASE_SHARE[1] - ERASE_SHARE[0])
    ratio = 3 ** (2 * draws[2] - 1)
    tall, wide = (area / ratio).sqrt().clamp_max(1) * height, (area * ratio).sqrt().clamp_max(1) * width
    top, left = draws[3] * (height - tall), draws[4] * (width - wide)
    rows, columns = torch.arange(height).view(1, -1, 1), torch.arange(width).view(1, 1, -1)
    inside = (rows >= top) & (rows < top + tall) & (columns >= left) & (columns < left + wide)
    blank = (inside & (draws[0] < probability)).unsqueeze(1).to(images.device)
    return images.masked_fill(blank, 0.0)


def mix(images: Tensor, labels: Tensor, recipe: Recipe, generator: Generator) -> tuple[Tensor, Targets]:
    """Mix the batch with itself in another order: by mixup or CutMix, whichever the recipe has (or either)."""
    kinds = [name for name, alpha in (("mixup", recipe.mixup), ("cutmix", recipe.cutmix)) if alpha]
    draw, kind, *corner = torch.rand(4, generator=generator).tolist()
    if not kinds or draw >= recipe.mix_probability:
        return images, Targets(labels, labels, 1.0)
    name = kinds[int(kind * len(kinds))]
    share = _beta(recipe.mixup if name == "mixup" else recipe.cutmix, generator)
    order = torch.randperm(len(images), generator=generator).to(images.device)
    other = labels[order]
    if name == "mixup":
        return images.mul(share).add_(images[order], alpha=1 - share), Targets(labels, other, share)
    height, width = images.shape[-2:]
    rows, columns = int(height * (1 - share) ** 0.5), int(width * (1 - share) ** 0.5)
    top, left = int(corner[0] * (height - rows + 1)), int(corner[1] * (width - columns + 1))
    images = images.clone()
    images[..., top : top + rows, left : left + columns] = images[order, :, top : top + rows, left : left + columns]
    return images, Targets(labels, other, 1 - rows * columns / (height * width))


def _beta(alpha: float, generator: Generator) -> float:
    """Draw from Beta(alpha, alpha) with our own generator (as a ratio of Gamma draws)."""
    concentration = torch.full((2,), alpha, dtype=torch.float64)
    a, b = torch._standard_gamma(concentration, generator).tolist()  # pyright: ignore[reportPrivateImportUsage]
    return a / (a + b) if a + b > 0 else 0.5
