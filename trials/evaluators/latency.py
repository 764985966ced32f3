"""Worth by time: the latency of the point itself."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from trials.evaluator import Evaluator, Job, OnEpoch
from trials.latency import measure_deployed
from trials.measurement import Measured


class Latency(Evaluator):
    """Time the point (never its twin) at the job's cost resolution, on the job's device and threads.

    Networks whose trained branches merge are timed in the merged form (since version 2).
    """

    kind: Literal["latency"] = "latency"
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 1
    """Images a run."""
    repeats: Annotated[int, Field(ge=3, le=1000)] = 20
    """Timed runs; fewer for a network so slow that they would take more than 3 s."""
    version: ClassVar[int] = 2
    metrics: ClassVar[tuple[str, ...]] = ("latency_ms",)
    reusable: ClassVar[bool] = False

    def evaluate(self, job: Job, on_epoch: OnEpoch) -> dict[str, Measured]:
        """Return latency_ms, the median of the timed runs, with their interquartile range."""
        side = job.cost_resolution
        shape = (self.batch_size, job.arch.in_channels, side, side)
        arch = job.arch.fitted(side)
        measured = measure_deployed(arch, shape, device=job.device, threads=job.threads, repeats=self.repeats)
        return {"latency_ms": measured}
