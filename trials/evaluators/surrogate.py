"""A made-up worth, for measuring the engine: no network is built or trained."""

from __future__ import annotations

import math
import random
import time
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from space import cost
from trials.evaluator import Evaluator, Job, OnEpoch
from trials.measurement import Measured
from trials.seeds import derive_seed
from trials.training.checkpoint import load_checkpoint, save_checkpoint

CHANCE = 0.1
BEST = 0.9


class Surrogate(Evaluator):
    """Synthetic accuracy from the point's id and MACs: more MACs help less and less, and every id has its own luck.

    A tool for timing the engine and for tests of crashes and resumption. Its numbers say nothing about any network,
    and their circumstances say so.
    """

    kind: Literal["surrogate"] = "surrogate"
    epochs: Annotated[int, Field(ge=1)] = 3
    sleep_ms: Annotated[float, Field(ge=0)] = 0.0
    """Pause in each epoch."""
    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "loss")
    staged: ClassVar[bool] = True

    def evaluate(self, job: Job, on_epoch: OnEpoch) -> dict[str, Measured]:
        """Return accuracy and loss after reporting a learning curve of `epochs` epochs, or those of a stretch."""
        luck = random.Random(derive_seed("surrogate", job.arch.id)).gauss(0, 0.02)
        macs = cost(job.arch, job.cost_resolution).macs
        level = CHANCE + (BEST - CHANCE) / (1 + math.exp(-(math.log10(1 + macs) - 8))) + luck
        begin, end = self._stops(job)
        for epoch in range(begin + 1, end + 1):
            if self.sleep_ms:
                time.sleep(self.sleep_ms / 1e3)
            on_epoch(epoch, self._at(epoch, level))
        if job.checkpoint is not None and end < self.epochs:
            save_checkpoint(job.checkpoint, {"epoch": end}, {"network": job.arch.id})
        found = self._at(end, level)
        circumstances: dict[str, str | int | float] = {"synthetic": "yes", "epochs": end}
        return {
            "accuracy": Measured(found["accuracy"], "ratio", None, circumstances),
            "loss": Measured(found["loss"], "nats", None, circumstances),
        }

    def _stops(self, job: Job) -> tuple[int, int]:
        """Return the epochs behind and at the end of the job. Raises CheckpointError as a training does."""
        end = min(job.stretch.until, self.epochs) if job.stretch else self.epochs
        if job.checkpoint is None or not job.checkpoint.exists():
            return 0, end
        return load_checkpoint(job.checkpoint, {"network": job.arch.id})["epoch"], end

    def _at(self, epoch: int, level: float) -> dict[str, float]:
        accuracy = min(max(CHANCE + (level - CHANCE) * epoch / self.epochs, 0.0), 1.0)
        return {"accuracy": accuracy, "loss": -math.log(max(accuracy, 1e-3))}
