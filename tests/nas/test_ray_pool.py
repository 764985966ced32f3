"""The pool of Ray actors: streamed reports, errors, dead workers. One pool for all, since Ray starts slowly."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from nas.events import Event, Notice, TrialFinished, TrialStarted
from nas.executors import EpochDone, ExecutorError, Inline, JobDone, JobFailed, RayPool, Report, WorkerLost
from nas.search import run_search
from nas.settings import SearchSettings
from space import DesignSpace
from trials.evaluator import Job
from trials.evaluators.surrogate import Surrogate
from trials.store import Store
from trials.training.recipe import PROXY_RECIPE


@pytest.fixture(scope="module")
def pool() -> Iterator[RayPool]:
    with RayPool(2) as started:
        while started.idle() < 2:
            started.wait(lambda report: None)
        yield started


class Shared:
    """The module's pool, which outlives a search."""

    def __init__(self, pool: RayPool) -> None:
        self.workers, self.ahead = pool.workers, pool.ahead
        self.idle, self.next_worker, self.submit, self.wait = pool.idle, pool.next_worker, pool.submit, pool.wait

    def __enter__(self) -> Shared:
        return self

    def __exit__(self, *_: object) -> None:
        return None


def job(number: int, *, sleep_ms: float = 0.0, epochs: int = 2, data: str = "digits") -> str:
    import random

    arch = DesignSpace.load("tiny").sample(random.Random(number))
    return Job(
        trial_number=number,
        arch=arch,
        train_arch=arch,
        data=data,
        recipe=PROXY_RECIPE,
        cost_resolution=32,
        evaluators=(Surrogate(epochs=epochs, sleep_ms=sleep_ms),),
    ).model_dump_json(exclude_defaults=True)


def until_final(pool: RayPool, count: int) -> list[Report]:
    """Wait until so many jobs have ended and return all reports."""
    reports: list[Report] = []
    while sum(not isinstance(report, EpochDone) for report in reports) < count:
        pool.wait(reports.append)
    return reports


def test_jobs_stream_their_epochs_in_order_and_then_their_result(pool: RayPool) -> None:
    names = {pool.submit(1, job(1)), pool.submit(2, job(2))}
    assert len(names) == 2
    assert str(os.getpid()) not in {name.rpartition(":")[2] for name in names}
    reports = until_final(pool, 2)
    for key in (1, 2):
        mine = [report for report in reports if report.key == key]
        assert [r.epoch for r in mine if isinstance(r, EpochDone)] == [1, 2]
        assert isinstance(mine[-1], JobDone)
        assert mine[-1].outcome["surrogate"]["measured"]["accuracy"]["unit"] == "ratio"
    assert pool.idle() == 2


def test_an_error_is_reported_in_one_line_and_the_worker_lives(pool: RayPool) -> None:
    before = pool.idle()
    pool.submit(3, '{"trial_number": 3}')
    (report,) = until_final(pool, 1)
    assert isinstance(report, JobFailed)
    assert "\n" not in report.reason
    assert pool.idle() == before


def test_a_killed_worker_is_reported_once_and_replaced(pool: RayPool) -> None:
    pid = int(pool.submit(4, job(4, sleep_ms=60_000)).rpartition(":")[2])
    os.kill(pid, signal.SIGKILL)
    (report,) = until_final(pool, 1)
    assert isinstance(report, WorkerLost)
    assert str(pid) in report.reason
    while pool.idle() < 2:
        pool.wait(lambda report: None)
    replacement = pool.submit(5, job(5))
    assert int(replacement.rpartition(":")[2]) != pid
    assert isinstance(until_final(pool, 1)[-1], JobDone)


def test_a_search_survives_the_death_of_a_worker(pool: RayPool, tmp_path: Path) -> None:
    victims: list[int] = []
    events: list[Event] = []

    def listen(event: Event) -> None:
        events.append(event)
        if isinstance(event, TrialStarted) and event.number == 2 and not victims:
            victims.append(int(event.worker.rpartition(":")[2]))
            os.kill(victims[0], signal.SIGKILL)

    with Store.open(tmp_path / "nas.db") as store:
        settings = SearchSettings.make(
            study="s", space="tiny", budget=10, workers=2, evaluators=(Surrogate(sleep_ms=20),), train_as="full"
        )
        result = run_search(store, settings, executor=Shared(pool), on_event=listen)
        rows = store.trials(store.study("s").id)
    assert result.done == 10
    assert victims
    assert any(isinstance(event, Notice) and "starts anew" in event.text for event in events)
    finished = [event.number for event in events if isinstance(event, TrialFinished)]
    assert len(finished) == len(set(finished)) == 10
    assert next(row for row in rows if row.number == 2).attempt == 2
    assert all(row.epochs == 3 for row in rows if row.state == "complete")


@pytest.mark.usefixtures("toy_rules")
def test_checkpoints_go_to_other_workers_and_outlive_them(pool: RayPool, tmp_path: Path) -> None:
    recipe = PROXY_RECIPE.model_copy(update={"epochs": 9, "epoch_images": 64, "validation_images": 60})
    asked = {"space": "tiny", "budget": 8, "recipe": recipe, "train_as": "full", "sampler": "random", "repeat": True}
    victims: list[int] = []
    events: list[Event] = []

    def listen(event: Event) -> None:
        events.append(event)
        if isinstance(event, TrialStarted) and event.epochs and not victims:
            victims.append(event.number)
            os.kill(int(event.worker.rpartition(":")[2]), signal.SIGKILL)

    with Store.open(tmp_path / "nas.db") as store:
        settings = SearchSettings.make(study="s", workers=2, fidelity="top_share:2", **asked)
        run_search(store, settings, executor=Shared(pool), on_event=listen)
        run_search(store, SearchSettings.make(study="whole", **asked), executor=Inline())
        whole = {row.arch_id: row for row in store.trials(store.study("whole").id)}
        rows = store.trials(store.study("s").id)
        curves = {row.number: [each.metrics for each in store.epochs_of(row.id)] for row in rows}
        for row in rows:
            uninterrupted = [each.metrics for each in store.epochs_of(whole[row.arch_id].id)]
            assert curves[row.number] == uninterrupted[: row.epochs]
        assert [path for path in store.root.rglob("*") if path.is_file()] == []
    complete = [row for row in rows if row.state == "complete"]
    assert complete
    assert all(row.values == whole[row.arch_id].values for row in complete)
    assert any(isinstance(event, Notice) and "it goes on from epoch 1" in event.text for event in events)
    assert rows[victims[0]].attempt == 2


def test_joining_whatever_cluster_is_there_is_refused() -> None:
    with pytest.raises(ExecutorError, match="'auto'"):
        RayPool(1, address="auto")
