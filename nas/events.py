"""What a search tells whoever watches it. A listener is any callable that takes one `Event`.

Order: Started, then all others in any mix, then Finished. Every event is sent after the store holds what it says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from nas.front import FrontPoint


@dataclass(frozen=True)
class Started:
    """The search begins (or goes on: `done` trials are already in the store)."""

    study: str
    store: str
    """URL of the store."""
    budget: int
    """Trials that shall be trained."""
    done: int
    """Trials that have been trained before now."""
    workers: int
    sampler: str
    objectives: tuple[str, ...]
    limits: tuple[str, ...]
    resumed: bool
    waiting: tuple[int, ...] = ()
    """Trials that wait at a rung already."""


@dataclass(frozen=True)
class Notice:
    """One line a person should read."""

    text: str


@dataclass(frozen=True)
class Suggested:
    """A new point passed admission and waits for a worker."""

    number: int
    arch_id: str
    description: str
    params: int
    macs: int
    sampler: str
    """Who proposed it: a sampler's name, `feasible draw`, or `start-from NAME`."""


@dataclass(frozen=True)
class Rejected:
    """A point was refused before training; it costs no budget."""

    number: int
    arch_id: str
    state: Literal["duplicate", "infeasible"]
    reason: str


@dataclass(frozen=True)
class TrialStarted:
    """A worker took the trial."""

    number: int
    worker: str
    attempt: int
    """1 at first; one more after each death of a worker or a driver."""
    epochs: int = 0
    """Epochs that it has behind it, and goes on from."""


@dataclass(frozen=True)
class EpochReported:
    """A worker finished an epoch of the trial."""

    number: int
    attempt: int
    epoch: int
    """Epochs done, from 1."""
    epochs: int | None
    """Epochs the trial will take, where known."""
    metrics: Mapping[str, float]
    stop: int | None = None
    """Epochs after which it stops, at a rung or at the end, where known."""


@dataclass(frozen=True)
class RungReached:
    """The trial has been trained to a rung, and waits there until it goes on or the search ends."""

    number: int
    arch_id: str
    rung: int
    """From 1."""
    rungs: int
    """Of so many, the last being the end of the training."""
    epoch: int
    epochs: int
    """Epochs of the whole training."""
    values: Mapping[str, float]
    """Every metric as measured here, with params and macs."""
    seconds: float
    """Wall time that workers have spent on it so far."""
    budget: int
    kept_bytes: int
    """Size of the checkpoints of all trials that wait."""


@dataclass(frozen=True)
class TrialFinished:
    """The trial has its final row and counts against the budget."""

    number: int
    arch_id: str
    state: Literal["complete", "stopped", "failed"]
    values: Mapping[str, float]
    """Every measured metric by name, with params and macs."""
    reason: str | None
    seconds: float
    """Wall time since a worker took it."""
    done: int
    """Trials that have been trained so far, of `budget`."""
    budget: int
    reused: str | None = None
    """The trial of another study that was trained in its place, as STUDY:NUMBER."""


@dataclass(frozen=True)
class FrontChanged:
    """A trial joined the front."""

    number: int
    front: tuple[FrontPoint, ...]


@dataclass(frozen=True)
class Finished:
    """The search is over: budget spent, space exhausted, or interrupted."""

    study: str
    store: str
    done: int
    budget: int
    counts: Mapping[str, int] = field(default_factory=dict[str, int])
    """Trials per state, all of the study."""
    front: tuple[FrontPoint, ...] = ()
    seconds: float = 0.0
    """Wall time of this run."""
    interrupted: bool = False
    """True after Ctrl-C: `nas resume STUDY` goes on."""
    exhausted: bool = False
    """True when no new feasible point could be found before the budget was spent."""


Event = (
    Started
    | Notice
    | Suggested
    | Rejected
    | TrialStarted
    | EpochReported
    | RungReached
    | TrialFinished
    | FrontChanged
    | Finished
)
Listener = Callable[[Event], None]


def silent(event: Event) -> None:
    """Listen to nothing."""
