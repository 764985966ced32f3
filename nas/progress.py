"""Where a running search stands, folded from its events; pure but for the clock it is given."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from nas.events import (
    EpochReported,
    Event,
    Finished,
    FrontChanged,
    Notice,
    Rejected,
    RungReached,
    Started,
    Suggested,
    TrialFinished,
    TrialStarted,
)
from nas.front import FrontPoint

_KEPT = 5


@dataclass
class Running:
    """A trial that a worker is training."""

    number: int
    since: float
    epoch: int = 0
    epochs: int | None = None
    stop: int | None = None
    """Epochs after which it stops, at a rung or at the end."""
    behind: int = 0
    """Epochs that it had behind it when the worker took it."""
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def fraction(self) -> float:
        """The part of its first stretch that is done, 0 where its length is not known; 1 on the way from a rung.

        What it costs to go on is part of the pace at which the budget is spent, as of every trial that may.
        """
        if self.behind:
            return 1.0
        return min(1.0, self.epoch / self.stop) if self.stop else 0.0


class SearchProgress:
    """Counts, running trials, the front and the last trials of a search, kept up to date by `take`."""

    def __init__(
        self,
        *,
        counts: Mapping[str, int] | None = None,
        front: tuple[FrontPoint, ...] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with what the store held before (`counts` per state and `front`), for a resumed search."""
        self.clock = clock
        self.started: Started | None = None
        self.finished: Finished | None = None
        self.counts: Counter[str] = Counter(counts or {})
        self.done = 0
        self.budget = 0
        self.running: dict[int, Running] = {}
        self.waiting: set[int] = set()
        """Trials that wait at a rung."""
        self.promoted = 0
        """How often one went on from there, in this run."""
        self.kept_bytes = 0
        """Size of the checkpoints of those that wait."""
        self.front = front
        self.last: deque[TrialFinished] = deque(maxlen=_KEPT)
        self.notices: deque[str] = deque(maxlen=3)
        self.descriptions: dict[int, str] = {}
        self._begin = clock()
        self._first_start: float | None = None

    @property
    def rejected(self) -> int:
        """Points refused before training."""
        return self.counts["duplicate"] + self.counts["infeasible"]

    @property
    def elapsed(self) -> float:
        """Seconds since the search began."""
        return self.clock() - self._begin

    @property
    def fraction(self) -> float:
        """The part of the budget that is spent: a trial at a rung is, running ones are by their epochs."""
        return self._spent() / self.budget if self.budget else 0.0

    def eta(self) -> float | None:
        """Seconds to the end at the pace of this run; None until there is a pace."""
        if self.started is None or self._first_start is None:
            return None
        spent = self._spent()
        gained = spent - self.started.done - len(self.started.waiting)
        if gained <= 0 or (spent >= self.budget > self.done):
            return None
        return max(0.0, (self.clock() - self._first_start) / gained * (self.budget - spent))

    def take(self, event: Event) -> None:
        """Fold one event in."""
        match event:
            case Started():
                if self.started is not None and self.started.study != event.study:
                    self._next_stage()
                self.started, self.done, self.budget = event, event.done, event.budget
                self.waiting = set(event.waiting)
            case Suggested():
                self.descriptions[event.number] = event.description
            case Rejected():
                self.counts[event.state] += 1
            case TrialStarted():
                now = self.clock()
                self._first_start = now if self._first_start is None else self._first_start
                self.running[event.number] = Running(event.number, now, event.epochs, behind=event.epochs)
                self.promoted += event.number in self.waiting
                self.waiting.discard(event.number)
            case EpochReported():
                self._epoch(event)
            case RungReached():
                self.running.pop(event.number, None)
                self.waiting.add(event.number)
                self.kept_bytes = event.kept_bytes
            case TrialFinished():
                self.running.pop(event.number, None)
                self.waiting.discard(event.number)
                self.counts[event.state] += 1
                self.done, self.budget = event.done, event.budget
                self.last.append(event)
            case FrontChanged():
                self.front = event.front
            case Notice():
                self.notices.append(event.text)
            case Finished():
                self.finished, self.done, self.front = event, event.done, event.front
                self.running.clear()

    def _next_stage(self) -> None:
        """Forget the trials of the study before: another one begins."""
        self.counts, self.front, self.finished, self._first_start = Counter(), (), None, None
        self.running.clear()
        self.waiting, self.promoted, self.kept_bytes = set(), 0, 0
        self.last.clear()

    def on_front(self, number: int) -> bool:
        """Tell whether a trial is on the front as it is now."""
        return any(point.trial == number for point in self.front)

    def _epoch(self, event: EpochReported) -> None:
        running = self.running.setdefault(event.number, Running(event.number, self.clock()))
        running.epoch, running.epochs, running.metrics = event.epoch, event.epochs, event.metrics
        running.stop = event.stop or event.epochs

    def _spent(self) -> float:
        return math.fsum([self.done, len(self.waiting), *(running.fraction for running in self.running.values())])
