"""How a network is trained: one frozen type, and its two values for searching and for finishing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from space.errors import NasError, nearest
from space.spec import Spec
from trials.training.sparsity import Sparsity

Share = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


class Recipe(Spec):
    """Everything that fixes a training but the network, the data, the seed and the device.

    AdamW, linear warm-up and cosine decay to zero per step, label smoothing, gradient clipping.
    """

    name: str
    epochs: Count | None = None
    """Passes over the training images; None: chosen from the data so that about `images` are seen."""
    images: Count = 100_000
    """Training images to see in all where `epochs` is None."""
    least_epochs: Count = 1
    most_epochs: Count = 300
    epoch_images: Count | None = None
    """At most so many training images an epoch, a fresh draw each; None: all."""
    validation_images: Count | None = None
    """At most so many validation images, a fixed stratified part; None: all."""
    batch_size: Count = 64
    lr: Annotated[float, Field(gt=0)] = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    warmup: Share = 0.1
    """Share of the steps during which the rate rises."""
    clip: Annotated[float, Field(gt=0)] = 1.0
    """Largest norm of the gradient."""
    label_smoothing: Share = 0.1
    augment: Literal["none", "light", "strong"] = "light"
    """light: shifts or random crops, mirroring where the data allows; strong: RandAugment for large colour images."""
    erase: Share = 0.0
    """Probability that a rectangle of an image is blanked (random erasing, arXiv:1708.04896)."""
    mixup: Annotated[float, Field(ge=0)] = 0.0
    """Alpha of mixup (arXiv:1710.09412); 0: off."""
    cutmix: Annotated[float, Field(ge=0)] = 0.0
    """Alpha of CutMix (arXiv:1905.04899); 0: off."""
    mix_probability: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the batches that are mixed, where mixup or CutMix is on."""
    mix_epochs: Count = 1
    """Trainings of fewer epochs do without mixing, which pays only in long ones."""
    ema: Share = 0.0
    """Decay of the moving average of the weights that is validated and kept; 0: off."""
    drop_path: Share = 0.0
    amp: bool = True
    """Compute in half precision where the device gains from it (CUDA)."""
    keep: Literal["last", "best"] = "last"
    """Which epoch's weights remain: the last, or those of the best validation accuracy."""
    resolution: Annotated[int, Field(ge=8, le=1024)] | None = None
    """Side of the training images in pixels; None: the data's own."""
    sparsity: Annotated[Sparsity | None, Field(exclude_if=lambda value: value is None)] = None
    """Train with masked weights; None: dense. Written down only where set, so that dense recipes read as ever."""

    def for_data(self, count: int) -> Recipe:
        """Return the recipe with epochs, batch size (16 steps an epoch or more) and mixing fit to `count` images."""
        each = min(count, self.epoch_images or count)
        epochs = self.epochs or min(max(round(self.images / each), self.least_epochs), self.most_epochs)
        batch_size = max(min(self.batch_size, each // 16), min(self.batch_size, 8))
        mixed = self.mix_probability if epochs >= self.mix_epochs else 0.0
        return self.model_copy(update={"epochs": epochs, "batch_size": batch_size, "mix_probability": mixed})

    def epoch_steps(self, count: int) -> int:
        """Return the optimiser steps of an epoch over `count` training images."""
        return math.ceil(min(count, self.epoch_images or count) / self.batch_size)


PROXY_RECIPE = Recipe(
    name="proxy", images=3_600, least_epochs=3, most_epochs=30, epoch_images=1_800, validation_images=1_000,
    batch_size=32, lr=6e-3, warmup=0.2, augment="none",
)  # fmt: skip
"""Short and small, to rank networks within seconds."""

FULL_RECIPE = Recipe(
    name="full", images=1_000_000, least_epochs=10, most_epochs=100, batch_size=64, lr=3e-3, augment="strong",
    erase=0.1, mixup=0.2, cutmix=1.0, mix_probability=0.3, mix_epochs=30, ema=0.999, drop_path=0.05, keep="best",
)  # fmt: skip
"""Training to the end, for the network that is kept."""

RECIPES: Mapping[str, Recipe] = {each.name: each for each in (PROXY_RECIPE, FULL_RECIPE)}


def recipe(name: str) -> Recipe:
    """Return the recipe called `name`. Raises NasError with the nearest name."""
    if name not in RECIPES:
        raise NasError(f"recipe: {name!r} is unknown, known: {', '.join(RECIPES)}{nearest(name, RECIPES)}")
    return RECIPES[name]
