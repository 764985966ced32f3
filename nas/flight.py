"""A trial on its way: what is known of it between its row and its last row."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from nas.executors.work import measured_from
from nas.front import values_of
from nas.objective import Objective
from nas.settings import SearchSettings
from nas.suggestions import Proposal
from nas.training_size import TrainingSize
from space import Architecture
from trials.evaluator import Evaluator, Job
from trials.measurement import Measured
from trials.rows import Rival, TrialRow
from trials.training.recipe import PROXY_RECIPE
from trials.training.stretch import Stretch

Found = dict[str, tuple[int, dict[str, Measured]]]
"""Per evaluator kind: its version and what it measured."""


@dataclass
class Flight:
    """An admitted trial that is not final yet."""

    row: TrialRow
    proposal: Proposal
    attempt: int
    """Attempts begun, of this driver and of former ones."""
    deaths: int = 0
    """Workers that died under it; a driver's death is not held against a trial."""
    state: str = "queued"
    started: bool = False
    measured: Found = field(default_factory=dict)
    begin: float = 0.0
    source: Rival | None = None
    """The trial of another study whose result serves this one as well."""
    waits_for: Rival | None = None
    """The trial of another study that is being trained to the same result."""
    rungs: list[dict[str, Any]] = field(default_factory=list)
    """What it had measured at each rung that it has reached, in the form of `TrialRow.rungs`."""
    reading: Found = field(default_factory=dict)
    """What is measured anew at each rung, as of the last one."""
    goal: int | None = None
    """The rung that its job trains it to, from 0; None: its job is no stretch of a training."""
    promoted: bool = False
    """Whether it goes on from a rung, in the attempt that has brought it there."""
    spent: float = 0.0
    """Seconds that it has been trained for on the way to its last rung."""

    def take(self, outcome: Mapping[str, Any]) -> None:
        """Keep what a job measured."""
        self.measured |= _found(outcome)

    def next_attempt(self) -> int:
        """Return the number of the attempt that begins if it is started now."""
        return self.attempt + (not self.promoted)

    def start(self) -> None:
        """Begin the attempt, or the next stretch of one."""
        self.attempt = self.next_attempt()
        self.started, self.promoted, self.begin = True, False, time.monotonic()

    def rest(self, epoch: int, staged: Collection[str], sha256: str | None) -> None:
        """Take note of what has been measured at a rung; what is `staged` will be measured anew at the next one."""
        passed = [{key: rung[key] for key in ("epoch", "values", "seconds")} for rung in self.rungs]
        here = {
            "epoch": epoch,
            "values": {name: each.value for _, found in self.measured.values() for name, each in found.items()},
            "seconds": round(self.seconds() - self.spent, 3),
            "outcome": {
                kind: {"version": version, "measured": {name: asdict(each) for name, each in found.items()}}
                for kind, (version, found) in self.measured.items()
            },
            "sha256": sha256,
        }
        self.rungs = [*passed, here]
        self.stand(staged)

    def stand(self, staged: Collection[str]) -> None:
        """Forget what happened since the last rung, or since the beginning."""
        self.started, self.source, self.goal = False, None, None
        found = _found(self.rungs[-1]["outcome"]) if self.rungs else {}
        self.measured = {kind: each for kind, each in found.items() if kind not in staged}
        self.reading = {kind: each for kind, each in found.items() if kind in staged}
        self.spent = sum(rung["seconds"] for rung in self.rungs)

    def seconds(self) -> float:
        """Return the wall time that workers have spent on it."""
        return self.spent + (time.monotonic() - self.begin if self.started else 0.0)

    def values(self) -> dict[str, float]:
        """Return everything known by number: the counts and what was measured."""
        found = values_of(self.row)
        for _, measured in self.measured.values():
            found |= {name: each.value for name, each in measured.items()}
        return found

    def flaw(self, objectives: Sequence[Objective]) -> str | None:
        """Return why the measurements cannot stand as a result, None where they can."""
        values = self.values()
        for name, value in values.items():
            if not math.isfinite(value):
                return f"{name}: measured {value}, a finite number is needed"
        missing = [o.metric for o in objectives if o.metric not in values]
        return f"{missing[0]}: not measured by {', '.join(self.measured) or 'anything'}" if missing else None

    def finite(self) -> list[tuple[str, int, dict[str, Measured]]]:
        """Return kind, version and the storable measurements of each evaluator; one empty entry where there is none."""
        found = [
            (kind, version, {name: each for name, each in measured.items() if math.isfinite(each.value)})
            for kind, (version, measured) in self.measured.items()
        ]
        return found or [("", 1, {})]


def _found(outcome: Mapping[str, Any]) -> Found:
    return {kind: (each["version"], measured_from(each)) for kind, each in outcome.items()}


def next_evaluators(flight: Flight, settings: SearchSettings) -> tuple[Evaluator, ...]:
    """Return what is to be run next: first what a limit needs, so that no training is wasted; then all the rest."""
    limited = {limit.metric for limit in settings.limits}
    left = [each for each in settings.evaluators if each.kind not in flight.measured]
    first = [each for each in left if limited & set(each.metrics)]
    return tuple(first or left)


def job_of(flight: Flight, settings: SearchSettings, size: TrainingSize, stretch: Stretch | None = None) -> Job:
    """Return what a worker needs to know for the next evaluators of this trial, and for the stretch they go."""
    row, arch, evaluators = flight.row, flight.proposal.arch, next_evaluators(flight, settings)
    job = job_for(arch, settings, size, number=row.number, seed=row.seed, evaluators=evaluators)
    return job if stretch is None else job.model_copy(update={"stretch": stretch})


def job_for(
    arch: Architecture,
    settings: SearchSettings,
    size: TrainingSize,
    *,
    number: int,
    seed: int,
    evaluators: tuple[Evaluator, ...],
) -> Job:
    """Return the job of a point in a study with these settings."""
    return Job(
        trial_number=number,
        arch=arch,
        train_arch=size.twin(arch),
        data=settings.data,
        data_seed=settings.data_seed,
        recipe=settings.recipe or PROXY_RECIPE,
        resolution=size.resolution,
        cost_resolution=size.cost_resolution,
        seed=seed,
        device=settings.device or "cpu",
        threads=settings.threads,
        evaluators=evaluators,
    )


def latency_in(outcome: Mapping[str, Any]) -> float | None:
    """Return the latency that a job measured, None where it measured none or no number."""
    for each in outcome.values():
        if (found := measured_from(each).get("latency_ms")) is not None and 0 < found.value < math.inf:
            return found.value
    return None
