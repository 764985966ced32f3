"""The search loop in one process: budget, rejections, failures, interruption, and resuming exactly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import pytest

from nas.driver import SearchError
from nas.events import Event, Finished, FrontChanged, Notice, Rejected, Started, TrialFinished, TrialStarted
from nas.executors import EpochDone, Inline, JobDone, JobFailed, Report, WorkerLost
from nas.executors.work import perform_stretch
from nas.front import front_points
from nas.search import Result, resume_search, run_search
from nas.settings import SearchSettings
from space.errors import NasError
from trials.evaluator import Evaluator
from trials.evaluators.surrogate import Surrogate
from trials.rows import TrialRow
from trials.store import Store

SAMPLERS = ("random", "tpe", "nsga2", "predictor_guided")
SMALL = """
resolution: 32
stem: {kind: patchify}
stages:
  - width: {int_range: [8, 24], step: 8}
    depth: {int_range: [1, 2]}
    pattern: [{norm: {kind: batch_norm}, token_mixer: {one_of: [{kind: pool}, {kind: identity}]}}]
"""
"""Twelve points."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "nas.db")


def settings(**changes: Any) -> SearchSettings:
    values: dict[str, Any] = {
        "study": "s",
        "space": "tiny",
        "budget": 12,
        "evaluators": (Surrogate(epochs=2),),
        "train_as": "full",
    }
    return SearchSettings.make(**(values | changes))


def rows_of(store: Store, study: str = "s") -> list[TrialRow]:
    return store.trials(store.study(study).id)


def gist(rows: list[TrialRow]) -> list[tuple[Any, ...]]:
    return [
        (r.number, r.state, r.arch_id, r.sampler, r.seed, r.choices, r.values, r.duplicate_of, r.extra) for r in rows
    ]


class Scripted:
    """An executor of several workers whose jobs end as a script says: a report, or None for the true result."""

    def __init__(self, script: Callable[[int, int], Report | None], workers: int = 1) -> None:
        self.workers, self.ahead = workers, 1
        self.script = script
        self.jobs: list[tuple[int, str, bytes | None]] = []
        self.submitted: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.jobs = []

    def idle(self) -> int:
        return self.workers - len(self.jobs)

    def next_worker(self) -> str:
        return "scripted"

    def submit(self, key: int, job: str, checkpoint: bytes | None = None) -> str:
        self.jobs.append((key, job, checkpoint))
        self.submitted.append(key)
        return "scripted"

    def wait(self, listener: Callable[[Report], None], timeout: float | None = None) -> bool:
        if not self.jobs or timeout == 0:
            return False
        key, job, checkpoint = self.jobs.pop(0)
        report = self.script(key, self.submitted.count(key))
        if report is None:
            found = perform_stretch(job, lambda epoch, metrics: listener(EpochDone(key, epoch, metrics)), checkpoint)
            report = JobDone(key, *found)
        listener(report)
        return True


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_search_spends_its_budget_and_tells_the_truth(store: Store, sampler: str) -> None:
    events: list[Event] = []
    result = run_search(store, settings(sampler=sampler), executor=Inline(), on_event=events.append)
    rows = rows_of(store)
    assert result.done == 12 == sum(row.state == "complete" for row in rows)
    assert [row.number for row in rows] == list(range(len(rows)))
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished)
    finished = [event for event in events if isinstance(event, TrialFinished)]
    assert [event.done for event in finished] == list(range(1, 13))
    stored = {row.number: row.values for row in rows if row.state == "complete"}
    assert all(event.values["accuracy"] == stored[event.number]["accuracy"] for event in finished)
    assert list(result.front) == front_points(rows, settings().objectives)
    last = [event for event in events if isinstance(event, FrontChanged)][-1]
    assert last.front == result.front
    trained = [row.arch_id for row in rows if row.state == "complete"]
    assert len(set(trained)) == len(trained)
    assert all(row.epochs == 2 for row in rows if row.state == "complete")


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("cut", [1, 9, 23])
def test_interrupted_search_goes_on_exactly_as_an_uninterrupted_one(store: Store, sampler: str, cut: int) -> None:
    asked = {"budget": 30, "sampler": sampler, "limits": ["params<=60k"], "repeat": True}
    run_search(store, settings(study="whole", **asked), executor=Inline())
    seen = 0

    def stop(event: Event) -> None:
        nonlocal seen
        if isinstance(event, TrialFinished):
            seen += 1
            if seen == cut:
                raise KeyboardInterrupt

    first = run_search(store, settings(study="cut", **asked), executor=Inline(), on_event=stop)
    assert first.interrupted
    assert first.done == cut
    second = resume_search(store, "cut", executor=Inline())
    assert not second.interrupted
    assert gist(rows_of(store, "cut")) == gist(rows_of(store, "whole"))


def test_interruption_in_the_middle_of_a_trial_requeues_it(store: Store) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, TrialStarted) and event.number == 3:
            raise KeyboardInterrupt

    events: list[Event] = []

    def listen(event: Event) -> None:
        events.append(event)
        stop(event)

    result = run_search(store, settings(), executor=Inline(), on_event=listen)
    assert result.interrupted
    assert [row.state for row in rows_of(store)] == ["complete"] * 3 + ["queued"]
    assert any(isinstance(event, Notice) and "nas resume s" in event.text for event in events)
    resume_search(store, "s", executor=Inline())
    again = rows_of(store)[3]
    assert (again.state, again.attempt) == ("complete", 2)


def test_resume_takes_a_new_budget_and_a_finished_study_needs_no_workers(store: Store) -> None:
    run_search(store, settings(budget=3), executor=Inline())

    class NoExecutor(Inline):
        def __enter__(self) -> Self:
            raise AssertionError("a finished study started workers")

    assert resume_search(store, "s", executor=NoExecutor()).done == 3
    assert resume_search(store, "s", executor=Inline(), budget=5).done == 5
    assert store.study("s").config["budget"] == 5


def small_space(tmp_path: Path, text: str = SMALL) -> str:
    path = tmp_path / "small.yaml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_exhausted_space_ends_cleanly_with_every_point_trained_once(store: Store, tmp_path: Path, sampler: str) -> None:
    events: list[Event] = []
    asked = settings(space=small_space(tmp_path), budget=100, sampler=sampler)
    result = run_search(store, asked, executor=Inline(), on_event=events.append)
    rows = rows_of(store)
    trained = {row.arch_id for row in rows if row.state == "complete"}
    assert result.exhausted
    assert result.done == len(trained) == 12
    assert any(isinstance(event, Notice) and "no other network" in event.text for event in events)
    assert len(rows) <= 4 * 12 + 20


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_rejections_cost_no_budget_and_say_why(store: Store, sampler: str) -> None:
    asked = settings(sampler=sampler, budget=30, limits=["params<=40k"])
    events: list[Event] = []
    result = run_search(store, asked, executor=Inline(), on_event=events.append)
    rows = rows_of(store)
    refused = [row for row in rows if row.state in ("duplicate", "infeasible")]
    assert result.done == 30
    assert refused, "the limit is tight: some proposals must be refused"
    assert len([event for event in events if isinstance(event, Rejected)]) == len(refused)
    for row in rows:
        if row.state == "complete":
            assert row.params is not None
            assert row.params <= 40_000
        elif row.state == "infeasible":
            assert row.reason is not None
            assert "> 40,000" in row.reason
            assert row.epochs == 0
        elif row.state == "duplicate":
            assert row.duplicate_of is not None
            assert rows[row.duplicate_of].arch_id == row.arch_id


def test_limit_that_only_a_trial_can_check_refuses_before_training(store: Store) -> None:
    class Slow(Inline):
        """Pretends that networks of an odd number are slow."""

        def wait(self, listener: Callable[[Report], None], timeout: float | None = None) -> bool:
            def rewrite(report: Report) -> None:
                if isinstance(report, JobDone) and "latency" in report.outcome:
                    assert "surrogate" not in report.outcome, "trained before its limit was checked"
                    value = 99.0 if report.key % 2 else 1.0
                    report.outcome["latency"]["measured"]["latency_ms"]["value"] = value
                listener(report)

            return super().wait(rewrite, timeout)

    latency = Evaluator.members["latency"](repeats=3)  # pyright: ignore[reportCallIssue]
    asked = settings(budget=4, limits=["latency_ms<=20"], evaluators=(latency, Surrogate(epochs=1)))
    result = run_search(store, asked, executor=Slow())
    rows = rows_of(store)
    assert result.done == 4
    assert {row.state for row in rows} == {"complete", "infeasible"}
    for row in rows:
        assert row.state == ("infeasible" if row.number % 2 else "complete")
        assert row.values["latency_ms"] == (99.0 if row.number % 2 else 1.0)
        assert ("accuracy" in row.values) == (row.state == "complete")
        assert row.state == "complete" or row.reason == "latency_ms 99 > 20"


def test_failed_trials_are_recorded_and_the_search_goes_on(store: Store) -> None:
    def script(number: int, attempt: int) -> Report | None:
        return JobFailed(number, "training: loss is nan") if number in (1, 4) else None

    result = run_search(store, settings(budget=8, sampler="random"), executor=Scripted(script, workers=2))
    rows = rows_of(store)
    assert result.done == 8
    assert sorted(row.number for row in rows if row.state == "failed") == [1, 4]
    assert all(row.reason == "training: loss is nan" for row in rows if row.state == "failed")
    assert not {1, 4} & {point.trial for point in result.front}


def test_first_trials_failing_alike_stop_the_search_with_the_reason(store: Store) -> None:
    with pytest.raises(SearchError, match="first 5 trials failed alike: no such file"):
        run_search(store, settings(), executor=Scripted(lambda number, attempt: JobFailed(number, "no such file")))
    assert [row.state for row in rows_of(store) if row.state != "queued"] == ["failed"] * 5
    assert resume_search(store, "s", executor=Inline()).done == 12


def test_value_that_is_not_finite_fails_the_trial(store: Store) -> None:
    def script(number: int, attempt: int) -> Report | None:
        bad = {"value": float("nan"), "unit": "ratio", "spread": None, "circumstances": {}}
        outcome: Mapping[str, Any] = {"surrogate": {"version": 1, "measured": {"accuracy": bad}}}
        return JobDone(number, outcome) if number == 0 else None

    run_search(store, settings(budget=3), executor=Scripted(script))
    first = rows_of(store)[0]
    assert first.state == "failed"
    assert first.reason is not None
    assert first.reason.startswith("accuracy: measured nan")


def test_lost_worker_gives_the_trial_another_attempt_up_to_three(store: Store) -> None:
    def script(number: int, attempt: int) -> Report | None:
        if number == 2 or (number == 1 and attempt < 3):
            return WorkerLost(number, "worker x died")
        return None

    result = run_search(store, settings(budget=5, sampler="random"), executor=Scripted(script, workers=2))
    rows = {row.number: row for row in rows_of(store)}
    assert result.done == 5
    assert (rows[1].state, rows[1].attempt) == ("complete", 3)
    assert (rows[2].state, rows[2].attempt) == ("failed", 3)
    assert rows[2].reason is not None
    assert "3 workers died" in rows[2].reason


def test_an_error_while_recording_is_not_the_trials_fault(store: Store) -> None:
    def broken(event: Event) -> None:
        if type(event).__name__ == "EpochReported":
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        run_search(store, settings(), executor=Inline(), on_event=broken)
    assert all(row.state != "failed" for row in rows_of(store))


def test_data_that_changed_is_refused_on_resume(store: Store, tmp_path: Path) -> None:
    run_search(store, settings(budget=2), executor=Inline())
    config = store.study("s").config
    store.update_config("s", config | {"data_seed": 5, "budget": 4})
    with pytest.raises(NasError, match="has changed since the study began"):
        resume_search(store, "s", executor=Inline())


def test_result_says_where_things_are(store: Store) -> None:
    result: Result = run_search(store, settings(budget=2), executor=Inline())
    assert (result.study, result.store, result.budget) == ("s", store.url, 2)
    assert not result.interrupted
    assert not result.exhausted


def test_a_search_trains_real_networks_on_real_images(store: Store) -> None:
    asked = SearchSettings.make(study="s", space="tiny", budget=2, epochs=1, limits=["params<=40k"])
    events: list[Event] = []
    result = run_search(store, asked, executor=Inline(), on_event=events.append)
    rows = [row for row in rows_of(store) if row.state == "complete"]
    assert result.done == len(rows) == 2
    for row in rows:
        assert 0 < row.values["accuracy"] <= 1
        assert row.epochs == 1
        (accuracy,) = [m for m in store.measurements_of(row.id) if m.metric == "accuracy"]
        assert (accuracy.evaluator, accuracy.unit) == ("train", "ratio")
        assert accuracy.circumstances["resolution"] == 16
    notices = [event.text for event in events if isinstance(event, Notice)]
    assert notices[0].startswith(
        "training proxies: width x0.5, depth x0.5, 16 px; front costs are of the full networks"
    )
