"""Worth by training: a recipe, the validation images, the accuracy."""

from __future__ import annotations

import time
from typing import Any, ClassVar, Literal

import torch

from space import Architecture, SpaceError, build, cost
from trials.data import load_data
from trials.evaluator import Evaluator, Job, OnEpoch
from trials.measurement import Measured
from trials.seeds import derive_seed

_COSTED = ("arch", "cost_resolution")
LEAST_SIDE = 8
"""Pixels; no smaller images are trained on."""


class Train(Evaluator):
    """Train the job's network by its recipe; accuracy and loss are those on the validation images."""

    kind: Literal["train"] = "train"
    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "loss")
    staged: ClassVar[bool] = True

    def decided_by(self, job: Job) -> dict[str, Any]:
        """Return what decides a training: what costs refer to has no part in it."""
        return {name: value for name, value in super().decided_by(job).items() if name not in _COSTED}

    def evaluate(self, job: Job, on_epoch: OnEpoch) -> dict[str, Measured]:
        """Return accuracy and loss, those of its end after a stretch. Raises TrainingFailed, DataError, SpaceError."""
        from trials.training.loop import fit  # its libraries take seconds to import, which only a worker should pay

        begin = time.perf_counter()
        data = load_data(job.data, resolution=job.resolution or job.recipe.resolution, seed=job.data_seed)
        told_apart = {"in_channels": data.channels, "classes": len(data.classes)}
        arch = job.train_arch.model_copy(update=told_apart).fitted(data.resolution)
        stretch = job.stretch
        if stretch is not None and (side := reduced(arch, data.resolution, stretch.resolution)) < data.resolution:
            data = load_data(job.data, resolution=side, seed=job.data_seed)
        with torch.random.fork_rng([]):
            torch.manual_seed(derive_seed("weights", job.seed))
            model = build(arch, drop_path=job.recipe.drop_path)
        result = fit(
            model, data, job.recipe, seed=job.seed, device=job.device, threads=job.threads, on_epoch=on_epoch,
            checkpoint=job.checkpoint, stretch=stretch,
        )  # fmt: skip
        recipe = job.recipe.for_data(len(data.train))
        epochs, before = recipe.epochs or 0, stretch.seconds if stretch else 0.0
        circumstances: dict[str, str | int | float] = {
            "split": "validation",
            "data": data.name,
            "fingerprint": data.fingerprint,
            "resolution": data.resolution,
            "recipe": recipe.name,
            "epochs": min(stretch.until, epochs) if stretch else epochs,
            "seed": job.seed,
            "device": job.device,
            "threads": job.threads,
            "seconds": round(before + time.perf_counter() - begin, 3),
            "torch": str(torch.__version__),
            **({"sparsity": str(recipe.sparsity)} if recipe.sparsity else {}),
        }
        return {
            "accuracy": Measured(result["accuracy"], "ratio", None, circumstances),
            "loss": Measured(result["loss"], "nats", None, circumstances),
        }


def reduced(arch: Architecture, resolution: int, share: float) -> int:
    """Return the side in pixels of a stretch on smaller images: that share of `resolution`, or all of it.

    All of it where the network has weights whose shapes follow from the size of the maps (they could not go on at
    another size), and where the smaller images are too small for it.
    """
    side = max(LEAST_SIDE, round(share * resolution))
    if side >= resolution:
        return resolution
    try:
        alike = arch.fitted(side) == arch
        cost(arch, side)
    except SpaceError:
        return resolution
    return side if alike else resolution
