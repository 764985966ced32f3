"""What the store hands out: one frozen value a row, no sessions and no database types."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

from space.errors import NasError

State = Literal["queued", "running", "complete", "stopped", "failed", "duplicate", "infeasible"]
"""Where a trial stands. queued and running are open, all others are final."""

OPEN: tuple[State, ...] = ("queued", "running")
FINAL: tuple[State, ...] = ("complete", "stopped", "failed", "duplicate", "infeasible")
STATES: tuple[State, ...] = OPEN + FINAL
TRAINED: tuple[State, ...] = ("complete", "stopped", "failed")
"""States that count against a study's budget."""
REUSED = "reused"
"""Key in a trial's `extra`: the trial whose result it has, as `{"study": name, "trial": number}`."""
RUNGS = "rungs"
"""Key in a trial's `extra`: what it had measured at each rung that it has reached, see `TrialRow.rungs`."""


class StoreError(NasError):
    """The store cannot do what was asked: one line that names the store, the study or the trial, and why."""


@dataclass(frozen=True, slots=True)
class StudyRow:
    """A search as it was asked for."""

    id: int
    name: str
    space: str
    """YAML source of the design space."""
    config: dict[str, Any]
    code_version: str
    data_fingerprint: str
    created: datetime


@dataclass(frozen=True, slots=True)
class StudySummary:
    """A search at a glance: how far it got and who drives it."""

    id: int
    name: str
    created: datetime
    budget: int | None
    """The `budget` of the study's config, if it has one."""
    counts: dict[str, int]
    """Number of trials in each of the seven states, zeros included."""
    started: datetime | None
    """When the first trial was started."""
    finished: datetime | None
    """When the latest finished trial ended."""
    driver: str | None
    """`host:pid` of the process that holds the study's lease, None if nobody does."""
    adopted: int = 0
    """Complete trials that the study began with, taken over from other studies."""
    waiting: int = 0
    """Queued trials that have been begun: they wait at a rung, or for another attempt."""

    @property
    def trained(self) -> int:
        """Number of trials that count against the budget."""
        return sum(self.counts[state] for state in TRAINED) - self.adopted

    @property
    def trials(self) -> int:
        """Number of trials of any state."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class ArchitectureRow:
    """A point, stored once however many trials it has."""

    id: str
    json: str
    params: int | None
    macs: int | None
    """Multiply-accumulates as first recorded; a trial's own `macs` are those at its study's resolution."""
    created: datetime


@dataclass(frozen=True, slots=True)
class TrialRow:
    """One point tried in one study."""

    id: int
    study_id: int
    number: int
    """Position in the study: 0, 1, 2, ... without gaps."""
    state: State
    attempt: int
    """Attempt in progress or last made; 0 until the first start."""
    reason: str | None
    """Why the trial failed, was stopped or was refused."""
    seed: int
    sampler: str
    origin: str | None
    """What the point comes from, when not from the sampler: a named model or another trial."""
    arch_id: str
    arch_json: str
    params: int | None
    macs: int | None
    choices: dict[str, Any]
    """The point in the coordinates of the study's space."""
    duplicate_of: int | None
    """Number of the earlier trial of this study with the same architecture."""
    created: datetime
    started: datetime | None
    """Start of the latest attempt."""
    finished: datetime | None
    worker: str | None
    epochs: int
    """Epochs finished in the latest attempt."""
    extra: dict[str, Any]
    values: dict[str, float] = field(default_factory=dict[str, float])
    """Measured value of each metric; where a metric was measured more than once, the first measurement stands."""

    @property
    def reused(self) -> str | None:
        """The trial that was trained in place of this one, as STUDY:NUMBER; None where this one was."""
        source = self.extra.get(REUSED)
        return f"{source['study']}:{source['trial']}" if source else None

    @property
    def rungs(self) -> list[dict[str, Any]]:
        """What it had measured at each rung that it has reached, in their order.

        Of each: `epoch`, the `values` measured by then, and the `seconds` of training since the rung before. While
        the trial is open, the last one has also the whole `outcome` of the evaluators and the checkpoint's `sha256`.
        """
        found: list[dict[str, Any]] = self.extra.get(RUNGS, [])
        return found

    @property
    def readings(self) -> dict[str, float]:
        """Its measured values; of one that was not trained to its end, those at its last rung."""
        return (
            dict(self.values) if self.state == "complete" or not self.rungs else self.rungs[-1]["values"] | self.values
        )

    @property
    def waiting(self) -> bool:
        """Whether it has reached a rung and waits there; `reason` says at which."""
        return self.state == "queued" and bool(self.rungs) and self.reason is not None

    @property
    def seconds(self) -> float | None:
        """Time from the start of its training to its end, without that of waiting; None where there is no end."""
        if self.started is None or self.finished is None:
            return None
        before = sum(rung["seconds"] for rung in self.rungs)
        last = 0.0 if self.rungs and self.state == "stopped" else (self.finished - self.started).total_seconds()
        return before + last

    @property
    def adopted(self) -> bool:
        """Whether the study began with this trial, taken over from another study; it costs no budget."""
        return self.state == "complete" and self.started is None and REUSED in self.extra


@dataclass(frozen=True, slots=True)
class Rival:
    """A trial of another study with the same point and seed: it has a result, or is being run by a live driver."""

    trial_id: int
    study: str
    number: int
    complete: bool
    config: dict[str, Any]
    """That of its study."""
    data_fingerprint: str

    @property
    def name(self) -> str:
        """STUDY:NUMBER."""
        return f"{self.study}:{self.number}"


@dataclass(frozen=True, slots=True)
class EpochRow:
    """What one epoch of one trial reported."""

    trial_id: int
    number: int
    """Number of the trial in its study."""
    epoch: int
    """Epochs finished, from 1."""
    attempt: int
    metrics: dict[str, float]
    created: datetime


@dataclass(frozen=True, slots=True)
class MeasurementRow:
    """One number with the circumstances it was taken in."""

    id: int
    trial_id: int | None
    arch_id: str
    metric: str
    value: float
    unit: str
    spread: float | None
    device: str
    circumstances: dict[str, Any]
    evaluator: str
    version: int
    seed: int | None
    created: datetime


@dataclass(frozen=True, slots=True)
class ArtifactRow:
    """A file beside the store."""

    id: int
    trial_id: int | None
    kind: str
    path: str
    """Relative to the store's `root`, with forward slashes."""
    sha256: str
    bytes: int
    created: datetime


@dataclass(frozen=True, slots=True)
class Annotation:
    """What people wrote beside a trial."""

    note: str = ""
    tags: tuple[str, ...] = ()
    hidden: bool = False
    """Whether the trial is left out of pictures and fronts."""


class Outline(NamedTuple):
    """A trial in the few fields that pictures of a whole study need."""

    id: int
    number: int
    state: State
    params: int | None
    macs: int | None
    activations: int | None
    epochs: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class WorkerSummary:
    """What one worker has done in a study."""

    worker: str
    counts: dict[str, int]
    """Number of its trials in each state that occurs."""
    first: datetime | None
    """Start of its first trial."""
    last: datetime | None
    """Latest start or end of one of its trials."""
