"""The driver: it alone writes a study's rows, keeps the workers busy, and tells what happens.

Every row is written before anyone acts on it: queued before the job leaves, final before the sampler is told. A kill at
any moment therefore loses at most work in progress, never a trial.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Literal

from nas.evaluation_cache import LOOK_AGAIN, EvaluationCache
from nas.events import (
    EpochReported,
    FrontChanged,
    Listener,
    Notice,
    Rejected,
    RungReached,
    Suggested,
    TrialFinished,
    TrialStarted,
)
from nas.executors import EpochDone, Executor, JobDone, JobFailed, Report, WorkerLost
from nas.flight import Flight, job_of, latency_in, next_evaluators
from nas.front import FrontPoint, description_of, front_points, joined, point_of
from nas.ladder import Ladder
from nas.objective import COUNTED, violated
from nas.proposing import Proposer
from nas.recording import record
from nas.settings import SearchSettings
from nas.training_size import TrainingSize
from space.errors import NasError
from trials.rows import TRAINED, State, StudyRow
from trials.store import Store

ATTEMPTS = 3
"""Workers that may die under one trial before it counts as failed."""
ALIKE = 5
"""So many first trials that fail for one reason end the search: something is wrong with all of them."""
SLOW_IN_A_ROW = 60
"""So many networks measured too slow, none fast enough, make the limit impossible."""


class SearchError(NasError):
    """A search cannot go on."""


class Driver:
    """Runs one study to its budget."""

    def __init__(
        self,
        store: Store,
        study: StudyRow,
        settings: SearchSettings,
        size: TrainingSize,
        proposer: Proposer,
        executor: Executor,
        emit: Listener,
    ) -> None:
        """Take in the stored trials; running ones of a dead driver go back to the queue."""
        self._store, self._study, self._settings, self._size = store, study, settings, size
        self._proposer, self._executor, self._emit = proposer, executor, emit
        store.requeue(study.id)
        rows = store.trials(study.id)
        proposals = proposer.take_in(rows)
        self.counts = Counter(row.state for row in rows)
        self._ladder = Ladder(store, study, settings)
        self._queue = deque(self._ladder.take_in(rows, proposals))
        self._flying: dict[int, Flight] = {}
        self._front: list[FrontPoint] = front_points(rows, settings.objectives)
        self._cache = EvaluationCache(store, study, settings, size)
        self._adopted = sum(row.adopted for row in rows)
        self._failures: list[str] | None = []
        self._never_fast = 0 if not self._front else None

    @property
    def done(self) -> int:
        """Return how many trials have been trained."""
        return sum(self.counts[state] for state in TRAINED) - self._adopted

    @property
    def begun(self) -> int:
        """Return how many trials count against the budget: trained, being trained, and waiting for either."""
        return self.done + len(self._queue) + len(self._flying) + len(self._ladder.waiting)

    @property
    def waiting(self) -> tuple[int, ...]:
        """Return the numbers of the trials that wait at a rung."""
        return self._ladder.waiting

    @property
    def exhausted(self) -> bool:
        """Tell whether the space has no other feasible point."""
        return self._proposer.exhausted

    @property
    def needs_workers(self) -> bool:
        """Tell whether anything is left to train."""
        return bool(self._queue) or self.done < self._settings.budget

    def run(self, check: Callable[[], None] = lambda: None) -> None:
        """Keep all workers busy until the budget is spent or the space exhausted.

        check:  is called between steps, and may raise to end the run.

        Raises:  SearchError, StoreError, ExecutorError; KeyboardInterrupt passes through.
        """
        while True:
            check()
            if self._executor.idle():
                self._promote()
            if self._dispatch() or (self._executor.idle() and self._suggest()):
                continue
            if self._executor.wait(self._heed, timeout=0):
                continue
            if len(self._queue) < self._executor.ahead and self._suggest():
                continue
            if not self._flying and not self._queue:
                if self._promote():
                    continue
                self._retire()
                return
            if not self._flying:  # all that is left is being trained by another process
                time.sleep(LOOK_AGAIN)
                continue
            self._executor.wait(self._heed, timeout=LOOK_AGAIN if self._queue and self._executor.idle() else None)

    # -- asking

    def _suggest(self) -> bool:
        """Propose one point and store what becomes of it; tell whether there was one to propose."""
        if self.exhausted or self.begun >= self._settings.budget:
            return False
        self._proposer.suggestions.amend(self._ladder.estimates.news())
        candidate = self._proposer.propose()
        if candidate is None:
            self._emit(Notice("no other network of the space meets the limits: the search ends before its budget"))
            return False
        verdict = self._proposer.admission.judge(candidate.proposal.arch)
        row = record(self._store, self._study.id, self._settings.seed, candidate, verdict)
        self.counts[row.state] += 1
        if verdict.state == "queued":
            self._proposer.admitted(row)
            self._queue.append(Flight(row, candidate.proposal, row.attempt))
            by = f"start-from {row.origin}" if row.origin else row.sampler
            text = description_of(row)
            self._emit(Suggested(row.number, row.arch_id, text, row.params or 0, row.macs or 0, by))
            return True
        self._proposer.rejected(row)
        if verdict.predicted_ms is not None:
            self._count_slow(verdict.reason or "")
        if verdict.state == "duplicate":
            self._proposer.suggestions.drop(candidate.proposal)
        else:
            self._proposer.suggestions.refuse(candidate.proposal, verdict.values)
        self._emit(Rejected(row.number, row.arch_id, verdict.state, verdict.reason or ""))
        return True

    def _promote(self) -> bool:
        """Let the best trial that may go on from its rung be the next to run; tell whether there is one."""
        if any(flight.promoted and flight.waits_for is None for flight in self._queue):
            return False
        flight = self._ladder.promoted()
        if flight is not None:
            self._queue.appendleft(flight)
        return flight is not None

    def _retire(self) -> None:
        """End the trials that wait at a rung, as nothing that could change their place is left to run."""
        for flight, reason in self._ladder.retired():
            self._finish(flight, "stopped", reason)

    # -- running

    def _dispatch(self) -> bool:
        """Send the first queued trial that no other process trains to an idle worker; tell whether there was one.

        A trial whose result the store has ends here.
        """
        if not self._executor.idle():
            return False
        flight = next((each for each in self._queue if each.started or self._claimed(each)), None)
        if flight is None:
            return False
        self._queue.remove(flight)
        if not next_evaluators(flight, self._settings):
            self._measured(flight)
            return True
        number = flight.row.number
        stretch, checkpoint = self._ladder.leg(flight)
        job = job_of(flight, self._settings, self._size, stretch).model_dump_json(exclude_defaults=True)
        if checkpoint is None:
            if stretch is not None and flight.rungs:
                self._emit(Notice(f"trial {number}: its checkpoint is gone; it is trained from the beginning"))
            self._executor.submit(number, job)
        else:
            self._executor.submit(number, job, checkpoint)
        self._flying[number] = flight
        return True

    def _claimed(self, flight: Flight) -> bool:
        """Take the trial's result from the store, or start the trial; tell whether either could be done."""
        known, worker = flight.waits_for, self._executor.next_worker()
        while (rivals := self._cache.look_up(flight)) is not None:
            if not next_evaluators(flight, self._settings):
                return True
            attempt = flight.next_attempt()
            if self._store.start_unless_rivalled(flight.row, worker=worker, attempt=attempt, seen=rivals):
                flight.start()
                self._move(flight, "running")
                epochs = flight.rungs[-1]["epoch"] if flight.rungs else 0
                self._emit(TrialStarted(flight.row.number, worker, attempt, epochs))
                return True
        if known is None and (rival := flight.waits_for) is not None:
            self._emit(Notice(f"trial {flight.row.number}: waits for {rival.name}, which is the same training"))
        return False

    def _heed(self, report: Report) -> None:
        """Store and pass on what a worker reports."""
        flight = self._flying[report.key]
        if isinstance(report, EpochDone):
            metrics = dict(report.metrics)
            self._store.add_epoch(flight.row.id, attempt=flight.attempt, epoch=report.epoch, metrics=metrics)
            epochs = self._settings.recipe.epochs if self._settings.recipe else None
            stop = epochs if flight.goal is None else self._ladder.stops[flight.goal].epoch
            self._emit(EpochReported(report.key, flight.attempt, report.epoch, epochs, metrics, stop))
            return
        del self._flying[report.key]
        if isinstance(report, JobDone):
            flight.take(report.outcome)
            limit = self._proposer.admission.latency
            if limit is not None and (ms := latency_in(report.outcome)) is not None:
                limit.learn(flight.proposal.arch, ms)
            self._measured(flight, report.checkpoint)
        elif isinstance(report, JobFailed):
            self._finish(flight, "failed", report.reason)
        else:
            self._lost(flight, report)

    def _lost(self, flight: Flight, report: WorkerLost) -> None:
        flight.deaths += 1
        if flight.deaths >= ATTEMPTS:
            self._finish(flight, "failed", f"{flight.deaths} workers died under it; last: {report.reason}")
            return
        how = f"it goes on from epoch {flight.rungs[-1]['epoch']}" if flight.rungs else "it starts anew"
        self._emit(Notice(f"trial {report.key}: {report.reason}; {how}"))
        flight.stand(self._ladder.staged)
        self._queue.appendleft(flight)

    def _measured(self, flight: Flight, checkpoint: bytes | None = None) -> None:
        """Go on with a trial whose job ended well: refuse it, run what is left of it, let it wait, or finish it."""
        limits = [limit for limit in self._settings.limits if limit.metric not in COUNTED]
        if reason := violated(limits, flight.values()):
            self._refuse_measured(flight, reason)
        elif next_evaluators(flight, self._settings):
            self._never_fast = None
            self._queue.appendleft(flight)
        elif flaw := flight.flaw(self._settings.objectives):
            self._finish(flight, "failed", flaw)
        elif self._ladder.rests(flight):
            self._rest(flight, checkpoint)
        else:
            self._finish(flight, "complete", None)

    # -- recording

    def _refuse_measured(self, flight: Flight, reason: str) -> None:
        self._write(flight, "infeasible", reason)
        self._proposer.too_slow(flight.row)
        self._proposer.suggestions.refuse(flight.proposal, flight.values())
        self._emit(Rejected(flight.row.number, flight.row.arch_id, "infeasible", reason))
        self._count_slow(reason)

    def _count_slow(self, reason: str) -> None:
        """Count a network that is too slow while none has been fast enough. Raises SearchError at the sixtieth."""
        if self._never_fast is not None:
            self._never_fast += 1
            if self._never_fast >= SLOW_IN_A_ROW:
                limits = ", ".join(str(limit) for limit in self._settings.limits if limit.metric not in COUNTED)
                count = self._never_fast
                raise SearchError(f"limits {limits}: {count} networks measured, none meets them; last: {reason}")

    def _rest(self, flight: Flight, checkpoint: bytes | None) -> None:
        """Let a trial wait at a rung; the sampler hears of it at its first one."""
        row, values, seconds, first = flight.row, flight.values(), flight.seconds(), not flight.rungs
        told = self._ladder.rest(flight, checkpoint)
        self._move(flight, "queued")
        if told:
            self._emit(Notice(told))
        if first:
            self._proposer.suggestions.tell(flight.proposal, values)
            self._proposer.fast_enough(row)
        self._failures = None
        rung, stops, kept = len(flight.rungs), self._ladder.stops, self._ladder.kept_bytes
        at = rung, len(stops), flight.rungs[-1]["epoch"], stops[-1].epoch
        self._emit(RungReached(row.number, row.arch_id, *at, values, seconds, self._settings.budget, kept))

    def _finish(self, flight: Flight, state: Literal["complete", "stopped", "failed"], reason: str | None) -> None:
        self._write(flight, state, reason)
        self._ladder.ended(flight, state)
        values = flight.values()
        if not flight.rungs:
            self._settle(flight, state, values)
        row, done, budget = flight.row, self.done, self._settings.budget
        reused = flight.source.name if flight.source and state == "complete" else None
        seconds = flight.seconds()
        self._emit(TrialFinished(row.number, row.arch_id, state, values, reason, seconds, done, budget, reused))
        if state == "complete":
            self._failures = None
            front = joined(self._front, point_of(row, values), self._settings.objectives)
            if front is not None:
                self._front = front
                self._emit(FrontChanged(row.number, tuple(front)))
        elif state == "failed" and self._failures is not None:
            self._stop_if_alike(reason or "")

    def _settle(self, flight: Flight, state: str, values: dict[str, float]) -> None:
        """Tell the sampler what became of a trial that it has heard nothing of."""
        if state == "complete":
            self._proposer.suggestions.tell(flight.proposal, values)
            self._proposer.fast_enough(flight.row)
        else:
            self._proposer.suggestions.drop(flight.proposal)

    def _stop_if_alike(self, reason: str) -> None:
        """Stop after the first few trials of this run failed for one reason. Raises SearchError."""
        failures = [*(self._failures or []), reason]
        self._failures = failures
        if len(failures) >= ALIKE:
            if len(set(failures)) == 1:
                raise SearchError(f"the first {len(failures)} trials failed alike: {reason}")
            self._failures = None

    def _move(self, flight: Flight, state: str) -> None:
        self.counts[flight.state] -= 1
        self.counts[state] += 1
        flight.state = state

    def _write(self, flight: Flight, state: State, reason: str | None) -> None:
        """Store the final row with all measurements; a failed trial keeps those that can stand."""
        source = flight.source.trial_id if flight.source else None
        self._store.finish_trial(flight.row.id, state=state, reason=reason, evaluations=flight.finite(), source=source)
        self._move(flight, state)
