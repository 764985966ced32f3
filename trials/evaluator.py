"""What a network is worth: the family of evaluators, and the job that crosses to a worker as JSON."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema

from space import Architecture
from space.discover import discover
from space.errors import NasError
from space.spec import Family, Spec
from trials.measurement import METRICS, Measured
from trials.training.recipe import Recipe
from trials.training.stretch import Stretch

_CIRCUMSTANTIAL = {
    "trial_number",
    "data",
    "device",
    "threads",
    "evaluators",
    "checkpoint_dir",
    "stretch",
    "arch",
    "train_arch",
}

OnEpoch = Callable[[int, dict[str, float]], None]
"""Called with the number of epochs done (from 1) and their metrics, while a network is being trained."""


class EvaluationError(NasError):
    """An evaluator broke its own declaration: metrics it does not declare, or a value that is not finite."""


class Evaluator(Family):
    """Measures a network. A member returns exactly the `metrics` it declares; a changed result is a new `version`."""

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[str, ...]] = ()
    reusable: ClassVar[bool] = True
    """Whether the result follows from the job and the data alone. A time does not: it is taken anew."""
    staged: ClassVar[bool] = False
    """Whether it can do a `stretch` of its work, and go on later from its checkpoint."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Know every member before the union of all is built."""
        if "members" in cls.__dict__:
            discover("trials.evaluators")
            discover("trials.proxies")
        return super().__get_pydantic_core_schema__(source, handler)

    def evaluate(self, job: Job, on_epoch: OnEpoch) -> dict[str, Measured]:
        """Return each declared metric of the job's network. Raises NasError where there is no result to have."""
        raise NotImplementedError

    def decided_by(self, job: Job) -> dict[str, Any]:
        """Return all that decides the result but the images themselves: jobs that agree in it have the same result.

        Device and threads are left out: they change the order of sums, hence no more than the last digits.
        """
        shown = job.model_dump(mode="json", exclude=_CIRCUMSTANTIAL)
        points = {"arch": job.arch.id, "train_arch": job.train_arch.id}
        return {**shown, **points, "evaluator": self.model_dump(mode="json"), "version": self.version}


class Job(Spec):
    """All that a worker needs to evaluate one trial; JSON both ways."""

    trial_number: Annotated[int, Field(ge=0)]
    arch: Architecture
    """The point: what limits, costs and latency are about."""
    train_arch: Architecture
    """What is trained: the point or its shrunken twin. Its image channels and classes are set from the data."""
    data: str = "digits"
    data_seed: int = 0
    recipe: Recipe
    resolution: Annotated[int, Field(ge=8, le=1024)] | None = None
    """Side of the training images in pixels; None: the data's own."""
    cost_resolution: Annotated[int, Field(ge=1)] = 224
    """Side in pixels of the images that costs and latency refer to."""
    seed: Annotated[int, Field(ge=0)] = 0
    device: str = "cpu"
    threads: Annotated[int, Field(ge=1)] = 1
    evaluators: tuple[Evaluator, ...] = Field(min_length=1)
    checkpoint_dir: Path | None = None
    """Where a training keeps its checkpoint; None: nowhere."""
    stretch: Stretch | None = None
    """The part of the training to do now; None: all of it."""

    @property
    def checkpoint(self) -> Path | None:
        """The file of the training's checkpoint; None: nowhere."""
        return self.checkpoint_dir / f"trial-{self.trial_number}.pt" if self.checkpoint_dir else None


def run_job(job: Job, on_epoch: OnEpoch) -> dict[str, Measured]:
    """Run every evaluator of the job in turn and return all metrics.

    Raises NasError where an evaluator has no result, EvaluationError where one breaks its declaration.
    """
    results: dict[str, Measured] = {}
    for evaluator in job.evaluators:
        found = evaluator.evaluate(job, on_epoch)
        if set(found) != set(evaluator.metrics):
            raise EvaluationError(f"{evaluator.kind}: measured {sorted(found)}, declared: {sorted(evaluator.metrics)}")
        for name, measured in found.items():
            if name not in METRICS or measured.unit != METRICS[name].unit:
                raise EvaluationError(f"{evaluator.kind}: {name} in {measured.unit!r} is no known metric in its unit")
            if not math.isfinite(measured.value):
                raise EvaluationError(f"{evaluator.kind}: {name} is {measured.value!r}, allowed: finite numbers")
        results |= found
    return results
