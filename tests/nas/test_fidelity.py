"""Trials that stop at rungs: who goes on, from where, what is stored, and that nothing is lost or trained twice."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest

from nas.events import EpochReported, Event, Notice, RungReached, Started, TrialFinished, TrialStarted
from nas.executors import EpochDone, Inline, JobDone, JobFailed, Report, WorkerLost
from nas.executors.work import perform_stretch
from nas.follow_up import FollowUp
from nas.search import resume_search, run_search
from nas.settings import SearchSettings
from trials.evaluators.latency import Latency
from trials.evaluators.surrogate import Surrogate
from trials.evaluators.train import Train
from trials.rows import TrialRow
from trials.store import Store
from trials.training import PROXY_RECIPE

pytestmark = pytest.mark.usefixtures("toy_rules")
QUICK = PROXY_RECIPE.model_copy(update={"epochs": 9, "epoch_images": 32, "validation_images": 40})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "nas.db")


def settings(**changes: Any) -> SearchSettings:
    values: dict[str, Any] = {
        "study": "s",
        "space": "tiny",
        "budget": 14,
        "evaluators": (Surrogate(epochs=9),),
        "epochs": 9,
        "train_as": "full",
        "fidelity": "top_share",
        "sampler": "random",
    }
    return SearchSettings.make(**(values | changes))


def rows_of(store: Store, study: str = "s") -> list[TrialRow]:
    return store.trials(store.study(study).id)


def curve_of(store: Store, row: TrialRow) -> list[tuple[int, dict[str, float]]]:
    return [(each.epoch, each.metrics) for each in store.epochs_of(row.id)]


def kept_files(store: Store) -> list[str]:
    return sorted(path.name for path in store.root.rglob("*") if path.is_file())


def gist(rows: list[TrialRow]) -> list[tuple[Any, ...]]:
    """Return what two searches that went the same way agree in."""
    return [
        (row.number, row.state, row.reason, row.arch_id, row.sampler, row.choices, row.values, row.epochs, _rungs(row))
        for row in rows
    ]


def _rungs(row: TrialRow) -> list[tuple[Any, ...]]:
    return [(rung["epoch"], rung["values"]) for rung in row.rungs]


class Scripted:
    """An executor of several workers whose jobs end as a script says: a report, or None for the true result."""

    ahead = 1

    def __init__(self, script: Callable[[int, int], Report | None], workers: int = 1) -> None:
        self.workers, self.script = workers, script
        self.jobs: list[tuple[int, str, bytes | None]] = []
        self.submitted: list[tuple[int, bool]] = []

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
        self.submitted.append((key, checkpoint is not None))
        return "scripted"

    def wait(self, listener: Callable[[Report], None], timeout: float | None = None) -> bool:
        if not self.jobs or timeout == 0:
            return False
        key, job, checkpoint = self.jobs.pop(0)
        found = perform_stretch(job, lambda epoch, metrics: listener(EpochDone(key, epoch, metrics)), checkpoint)
        count = sum(number == key for number, _ in self.submitted)
        listener(self.script(key, count) or JobDone(key, *found))
        return True


def test_the_best_go_on_and_the_others_are_stopped_where_they_wait(store: Store) -> None:
    events: list[Event] = []
    result = run_search(store, settings(), executor=Inline(), on_event=events.append)
    rows = [row for row in rows_of(store) if row.state != "duplicate"]
    counts = Counter(row.state for row in rows)
    assert result.done == 14 == counts["complete"] + counts["stopped"]
    assert counts["complete"] >= 1
    assert counts["stopped"] >= 9
    for row in rows:
        curve = curve_of(store, row)
        assert [epoch for epoch, _ in curve] == list(range(1, row.epochs + 1))
        assert row.values["accuracy"] == curve[-1][1]["accuracy"]
        assert [rung["epoch"] for rung in row.rungs] == [stop for stop in (1, 3) if stop <= row.epochs]
        assert all(set(rung) == {"epoch", "values", "seconds"} for rung in row.rungs)
        if row.state == "stopped":
            assert row.epochs in (1, 3)
            assert row.reason == f"stopped at epoch {row.epochs} of 9: not among the best third of its rung"
        else:
            assert (row.epochs, row.reason, row.attempt) == (9, None, 1)
    told = Counter((each.number, each.epoch) for each in events if isinstance(each, EpochReported))
    assert set(told.values()) == {1}, "an epoch was trained twice"
    assert {point.trial for point in result.front} <= {row.number for row in rows if row.state == "complete"}
    assert kept_files(store) == []
    reached = [each for each in events if isinstance(each, RungReached)]
    assert {(each.rung, each.rungs, each.epoch, each.epochs) for each in reached} == {(1, 3, 1, 9), (2, 3, 3, 9)}
    assert [each.kept_bytes > 0 for each in reached] == [True] * len(reached)


def test_a_promoted_trial_ends_with_the_bits_of_an_uninterrupted_training(store: Store) -> None:
    asked = {"evaluators": (Train(),), "recipe": QUICK, "repeat": True, "budget": 6, "fidelity": "top_share:2"}
    run_search(store, settings(**asked), executor=Inline())
    run_search(store, settings(study="whole", **asked | {"fidelity": "none"}), executor=Inline())
    whole = {row.arch_id: row for row in rows_of(store, "whole")}
    states = Counter[str]()
    for row in rows_of(store):
        states[row.state] += 1
        curve = curve_of(store, row)
        assert curve == curve_of(store, whole[row.arch_id])[: len(curve)]
        if row.state == "complete":
            assert row.values == whole[row.arch_id].values
    assert states["complete"]
    assert states["stopped"] > states["complete"]
    assert Counter(row.state for row in rows_of(store, "whole"))["complete"] == 6


@pytest.mark.parametrize("sampler", ["tpe", "predictor_guided"])
@pytest.mark.parametrize("cut", [4, 21])
def test_an_interrupted_search_goes_on_as_an_uninterrupted_one(store: Store, sampler: str, cut: int) -> None:
    asked = {"budget": 22, "sampler": sampler, "repeat": True}
    run_search(store, settings(study="whole", **asked), executor=Inline())
    seen = 0

    def stop(event: Event) -> None:
        nonlocal seen
        seen += isinstance(event, (RungReached, TrialStarted))
        if seen == cut:
            seen += 1
            raise KeyboardInterrupt

    first = run_search(store, settings(**asked), executor=Inline(), on_event=stop)
    assert first.interrupted
    events: list[Event] = []
    assert not resume_search(store, "s", executor=Inline(), on_event=events.append).interrupted
    assert gist(rows_of(store)) == gist(rows_of(store, "whole"))
    assert kept_files(store) == []
    assert isinstance(events[0], Started)
    assert bool(events[0].waiting) == (cut > 1)


@pytest.mark.parametrize("seed", range(2, 8))
def test_whatever_the_rule_and_the_workers_do_nothing_is_lost(store: Store, seed: int) -> None:
    rng, events = random.Random(seed), list[Event]()

    def script(number: int, count: int) -> Report | None:
        die = rng.random()
        return WorkerLost(number, "gone") if die < 0.1 else JobFailed(number, f"bad {number}") if die < 0.15 else None

    scripted = Scripted(script, workers=1 + seed % 3)
    result = run_search(store, settings(fidelity=f"by_lot:{seed}"), executor=scripted, on_event=events.append)
    rows = [row for row in rows_of(store) if row.state != "duplicate"]
    assert result.done == 14 == len(rows)
    assert {row.state for row in rows} <= {"complete", "stopped", "failed"}
    assert kept_files(store) == []
    finished = Counter(each.number for each in events if isinstance(each, TrialFinished))
    assert finished == {row.number: 1 for row in rows}
    deaths = Counter(
        int(each.text.split()[1].rstrip(":")) for each in events if isinstance(each, Notice) and "gone" in each.text
    )
    starts = [each for each in events if isinstance(each, TrialStarted)]
    for row in rows:
        stops = [rung["epoch"] for rung in row.rungs]
        assert stops == sorted(set(stops))
        mine = [each.epochs for each in starts if each.number == row.number]
        assert set(mine) == {0, *stops[: len(set(mine)) - 1]}
        assert len(mine) == len(set(mine)) + deaths[row.number]
        if row.state != "failed":
            assert [epoch for epoch, _ in curve_of(store, row)] == list(range(1, row.epochs + 1))
            assert row.epochs == (9 if row.state == "complete" else stops[-1])
        again = Counter(e.epoch for e in events if isinstance(e, EpochReported) and e.number == row.number)
        assert max(again.values()) <= 1 + deaths[row.number]


def test_a_dead_worker_costs_no_more_than_the_stretch(store: Store) -> None:
    dead: list[int] = []

    def script(number: int, count: int) -> Report | None:
        if count == 2 and not dead:
            dead.append(number)
            return WorkerLost(number, "worker died")
        return None

    events: list[Event] = []
    scripted = Scripted(script)
    run_search(store, settings(), executor=scripted, on_event=events.append)
    row = rows_of(store)[dead[0]]
    assert row.attempt == 2
    assert any(isinstance(each, Notice) and each.text.endswith("it goes on from epoch 1") for each in events)
    told = Counter(each.epoch for each in events if isinstance(each, EpochReported) and each.number == row.number)
    assert told[1] == 1
    assert told[2] == told[3] == 2
    assert [given for number, given in scripted.submitted if number == row.number][:3] == [False, True, True]


def test_a_failure_at_a_later_rung_is_one_of_the_trial(store: Store) -> None:
    def script(number: int, count: int) -> Report | None:
        return JobFailed(number, "training: diverged") if count == 2 else None

    result = run_search(store, settings(), executor=Scripted(script))
    rows = rows_of(store)
    failed = [row for row in rows if row.state == "failed"]
    assert failed
    assert all(len(row.rungs) == 1 and row.reason == "training: diverged" for row in failed)
    assert result.front == ()
    assert kept_files(store) == []


def test_a_lost_checkpoint_is_made_up_for(store: Store) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, RungReached) and event.number == 5:
            raise KeyboardInterrupt

    run_search(store, settings(), executor=Inline(), on_event=stop)
    waiting = [row for row in rows_of(store) if row.waiting]
    assert len(waiting) >= 4
    assert store.summary("s").waiting == len(waiting)
    assert all(row.reason and row.reason.startswith("waiting at rung ") for row in waiting)
    (store.root / "checkpoints" / "s" / "stray").write_text("left by a kill")
    for path in (store.root / "checkpoints" / "s").glob("*.pt"):
        path.write_bytes(path.read_bytes()[:-1])
    events: list[Event] = []
    resume_search(store, "s", executor=Inline(), on_event=events.append)
    gone = [each for each in events if isinstance(each, Notice) and "trained from the beginning" in each.text]
    assert gone
    assert all(row.state in ("complete", "stopped") for row in rows_of(store) if row.state != "duplicate")
    assert kept_files(store) == []


def test_a_finished_search_goes_on_with_a_larger_budget(store: Store) -> None:
    run_search(store, settings(budget=6), executor=Inline())
    before = {row.number: row for row in rows_of(store)}
    result = resume_search(store, "s", executor=Inline(), budget=18)
    assert result.done == 18
    assert all(rows_of(store)[number] == row for number, row in before.items())
    assert sum(row.state == "complete" for row in rows_of(store)) > sum(r.state == "complete" for r in before.values())


def test_only_whole_trainings_are_results_for_other_studies(store: Store) -> None:
    run_search(store, settings(), executor=Inline())
    complete = {row.arch_id for row in rows_of(store) if row.state == "complete"}
    run_search(store, settings(study="other", fidelity="none"), executor=Inline())
    reused = {row.arch_id for row in rows_of(store, "other") if row.reused}
    assert reused == complete
    # and the other way round: what has been trained whole stops at no rung
    run_search(store, settings(study="third", budget=12), executor=Inline())
    assert {row.state for row in rows_of(store, "third") if row.reused} == {"complete"}
    assert sum(row.reused is not None for row in rows_of(store, "third")) == 12


def test_a_latency_is_measured_once(store: Store) -> None:
    objectives = ("accuracy:max", "latency_ms:min")
    run_search(
        store, settings(evaluators=(Surrogate(epochs=9), Latency(repeats=3)), objectives=objectives), executor=Inline()
    )
    for row in rows_of(store):
        if row.state in ("complete", "stopped"):
            metrics = Counter(each.metric for each in store.measurements_of(row.id))
            assert metrics == {"accuracy": 1, "loss": 1, "latency_ms": 1}
            assert {rung["values"]["latency_ms"] for rung in row.rungs} == {row.values["latency_ms"]}


def test_the_second_stage_has_no_rungs(store: Store) -> None:
    asked = settings(then=FollowUp(count=2, epochs=2), evaluators=(Surrogate(epochs=9),), budget=20)
    result = run_search(store, asked, executor=Inline())
    assert result.second is not None
    assert result.second.trained == len([row for row in rows_of(store, "s-full") if row.state == "complete"])
    assert store.study("s-full").config["fidelity"]["rule"] == "none"
    assert all(not row.rungs for row in rows_of(store, "s-full"))
