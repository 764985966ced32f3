"""Worth by training: a recipe, the validation images, the accuracy."""

from __future__ import annotations

import time
from typing import Any, ClassVar, Literal

import torch

from space import build
from trials.data import load_data
from trials.evaluator import Evaluator, Job, OnEpoch
from trials.measurement import Measured
from trials.seeds import derive_seed

_COSTED = ("arch", "cost_resolution")


class Train(Evaluator):
    """Train the job's network by its recipe; accuracy and loss are those on the validation images."""

    kind: Literal["train"] = "train"
    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "loss")

    def decided_by(self, job: Job) -> dict[str, Any]:
        """Return what decides a training: what costs refer to has no part in it."""
        return {name: value for name, value in super().decided_by(job).items() if name not in _COSTED}

    def evaluate(self, job: Job, on_epoch: OnEpoch) -> dict[str, Measured]:
        """Return accuracy and loss. Raises TrainingFailed, DataError, SpaceError."""
        from trials.training.loop import fit  # its libraries take seconds to import, which only a worker should pay

        begin = time.perf_counter()
        data = load_data(job.data, resolution=job.resolution or job.recipe.resolution, seed=job.data_seed)
        told_apart = {"in_channels": data.channels, "classes": len(data.classes)}
        arch = job.train_arch.model_copy(update=told_apart).fitted(data.resolution)
        with torch.random.fork_rng([]):
            torch.manual_seed(derive_seed("weights", job.seed))
            model = build(arch, drop_path=job.recipe.drop_path)
        checkpoint = job.checkpoint_dir / f"trial-{job.trial_number}.pt" if job.checkpoint_dir else None
        result = fit(
            model, data, job.recipe, seed=job.seed, device=job.device, threads=job.threads, on_epoch=on_epoch,
            checkpoint=checkpoint,
        )  # fmt: skip
        recipe = job.recipe.for_data(len(data.train))
        circumstances: dict[str, str | int | float] = {
            "split": "validation",
            "data": data.name,
            "fingerprint": data.fingerprint,
            "resolution": data.resolution,
            "recipe": recipe.name,
            "epochs": recipe.epochs or 0,
            "seed": job.seed,
            "device": job.device,
            "threads": job.threads,
            "seconds": round(time.perf_counter() - begin, 3),
            "torch": str(torch.__version__),
            **({"sparsity": str(recipe.sparsity)} if recipe.sparsity else {}),
        }
        return {
            "accuracy": Measured(result["accuracy"], "ratio", None, circumstances),
            "loss": Measured(result["loss"], "nats", None, circumstances),
        }
