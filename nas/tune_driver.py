"""The driver of a study whose trials Ray Tune runs: Tune asks for the next one, and tells how each goes on."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Self

from nas.driver import Driver
from nas.events import Listener, TrialFinished
from nas.executors import Report
from nas.flight import Flight
from nas.preparation import Preparation
from nas.proposing import Proposer
from trials.measurement import METRICS, Measured
from trials.rows import StudyRow
from trials.store import Store

STOPPED = "stopped"
"""Evaluator that the numbers of a stopped trial are recorded under: those of a lesser training."""
WORKER = "ray-tune"
"""Worker of all trials: which process runs one is Tune's affair."""


class Slot:
    """An executor with room for one job whenever Tune asks for one; what becomes of the job is told by Tune."""

    workers = 1
    ahead = 0

    def __init__(self) -> None:
        """Have no room."""
        self.open = False
        self.key: int | None = None

    def __enter__(self) -> Self:
        """Return itself; Tune starts what is needed."""
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing."""

    def idle(self) -> int:
        """Return 1 while there is room."""
        return int(self.open)

    def next_worker(self) -> str:
        """Return the name that stands for all of Tune."""
        return WORKER

    def submit(self, key: int, job: str, checkpoint: bytes | None = None) -> str:
        """Keep the job's key for `TuneDriver.next_trial`; the trainable makes the job itself."""
        self.open, self.key = False, key
        return WORKER

    def wait(self, listener: Callable[[Report], None], timeout: float | None = None) -> bool:
        """Return False: there is nothing to wait for."""
        return False


class TuneDriver(Driver):
    """A driver without a loop of its own."""

    def __init__(
        self, store: Store, study: StudyRow, prepared: Preparation, proposer: Proposer, emit: Listener
    ) -> None:
        """Take in the stored trials; those of a dead driver go back to the queue."""
        self._slot = Slot()
        super().__init__(store, study, prepared.settings, prepared.size, proposer, self._slot, emit)

    @property
    def busy(self) -> bool:
        """Whether Tune has trials that have not ended."""
        return bool(self._flying)

    @property
    def over(self) -> bool:
        """Whether there is nothing to train, nor will be. True only after `next_trial` returned None."""
        return not self._flying and not self._queue

    def next_trial(self) -> Flight | None:
        """Start the next trial and return it; None where there is none now."""
        self._slot.open, self._slot.key = True, None
        while self._slot.open and (self._dispatch() or self._suggest()):
            continue
        self._slot.open = False
        return None if self._slot.key is None else self._flying[self._slot.key]

    def heed(self, report: Report) -> None:
        """Store what Tune says of a trial under way."""
        self._heed(report)

    def take_up(self, number: int) -> bool:
        """Start a queued trial that Tune goes on with by itself; return False where it is not queued."""
        flight = next((each for each in self._queue if each.row.number == number), None)
        if flight is None:
            return False
        self._queue.remove(flight)
        self._flying[number] = flight
        self.begin_attempt(number)
        self._move(flight, "running")
        return True

    def begin_attempt(self, number: int) -> None:
        """Record that Tune has started a trial once more."""
        flight = self._flying[number]
        flight.start()
        self._store.start_trial(flight.row.id, worker=WORKER, attempt=flight.attempt)

    def put_back(self, number: int) -> None:
        """Queue a trial again of which Tune let go before anything came of it."""
        flight = self._flying.pop(number)
        flight.stand(())
        self._move(flight, "queued")
        self._queue.appendleft(flight)

    def stop(self, number: int, epoch: int, metrics: dict[str, float]) -> None:
        """Record that Tune stopped a trial after this epoch, with the numbers it had there."""
        flight, around = self._flying.pop(number), {"epochs": epoch}
        flight.measured[STOPPED] = (
            1,
            {
                name: Measured(value, METRICS[name].unit, None, around)
                for name, value in metrics.items()
                if name in METRICS and math.isfinite(value)
            },
        )
        reason = f"stopped by Ray Tune after epoch {epoch}"
        self._write(flight, "stopped", reason)
        values, row = flight.values(), flight.row
        self._proposer.suggestions.tell(flight.proposal, values)
        seconds, done, budget = flight.seconds(), self.done, self._settings.budget
        self._emit(TrialFinished(row.number, row.arch_id, "stopped", values, reason, seconds, done, budget))

    def _stop_if_alike(self, reason: str) -> None:
        """Go on: Tune's own settings say how many failures are too many."""
