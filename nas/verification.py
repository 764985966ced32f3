"""The last look at a limit on latency: the front is measured again on its own, and what breaks the limit leaves it.

While a search runs, networks are timed beside others that are trained. Only a time taken alone says what a network
needs, so that it decides which points a front may show.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from nas.evaluation_cache import Conditions
from nas.events import Listener, Notice
from nas.executors import Executor, JobDone, JobFailed, Report, WorkerLost
from nas.executors.work import measured_from
from nas.flight import job_for
from nas.front import front_rows
from nas.objective import violated
from space import Architecture
from trials.evaluator import Evaluator
from trials.rows import StudyRow, TrialRow
from trials.store import Store

ALONE = "alone"
"""Name of the circumstance that marks a measurement with nothing else at work."""
ATTEMPTS = 3


class Verification:
    """Measures the front of one study again."""

    def __init__(self, store: Store, study: StudyRow, conditions: Conditions) -> None:
        """Hold the study to its limits on what is measured."""
        self._store, self._study, self._conditions = store, study, conditions
        self._limits = [limit for limit in conditions.settings.limits if limit.metric == "latency_ms"]
        evaluators = conditions.settings.evaluators
        self._evaluator: Evaluator | None = next((e for e in evaluators if "latency_ms" in e.metrics), None)

    def pending(self) -> list[TrialRow]:
        """Return the trials of the front that have not been measured alone."""
        if not self._limits or self._evaluator is None:
            return []
        rows = front_rows(self._store.trials(self._study.id, state="complete"), self._conditions.settings.objectives)
        return [row for row in rows if not self._measured_alone(row)]

    def run(self, executor: Executor, emit: Listener, check: Callable[[], None]) -> None:
        """Measure until every point of the front holds; what took the place of one that left is measured as well."""
        while rows := self.pending():
            for row in rows:
                check()
                self._verify(row, executor, emit)

    def _measured_alone(self, row: TrialRow) -> bool:
        return any(ALONE in each.circumstances for each in self._store.measurements_of(row.id))

    def _verify(self, row: TrialRow, executor: Executor, emit: Listener) -> None:
        outcome = self._timed(row, executor)
        if isinstance(outcome, str):
            reason = f"latency_ms could not be measured again: {outcome}"
        else:
            evaluator = self._conditions.settings.evaluators[0] if self._evaluator is None else self._evaluator
            found = {
                name: replace(each, circumstances={**each.circumstances, ALONE: "yes"})
                for name, each in measured_from(outcome).items()
            }
            self._store.add_measurements(
                row.arch_id, found, trial_id=row.id, evaluator=evaluator.kind, evaluator_version=outcome["version"],
                seed=row.seed,
            )  # fmt: skip
            broken = violated(self._limits, {name: each.value for name, each in found.items()})
            reason = f"{broken}, measured again with nothing else at work" if broken else ""
        if reason:
            self._store.strike_out(row.id, reason)
            emit(Notice(f"trial {row.number} leaves the front: {reason}"))

    def _timed(self, row: TrialRow, executor: Executor) -> dict[str, Any] | str:
        """Return the outcome of the latency evaluator on an idle pool, or why there is none."""
        settings, size = self._conditions.settings, self._conditions.size
        arch = Architecture.model_validate_json(row.arch_json)
        wanted = tuple(each for each in settings.evaluators if each == self._evaluator)
        job = job_for(arch, settings, size, number=row.number, seed=row.seed, evaluators=wanted)
        why = ""
        for _ in range(ATTEMPTS):
            reports: list[Report] = []
            while not executor.idle():
                executor.wait(reports.append)
            executor.submit(row.number, job.model_dump_json(exclude_defaults=True))
            while not any(isinstance(each, (JobDone, JobFailed, WorkerLost)) for each in reports):
                executor.wait(reports.append)
            last = reports[-1]
            if isinstance(last, JobDone):
                return last.outcome[wanted[0].kind]
            why = last.reason if isinstance(last, (JobFailed, WorkerLost)) else ""
            if isinstance(last, JobFailed):
                break
        return why
