"""Studies run by `tune.Tuner` on a Ray of their own: schedulers, failures, retries, and a driver that is killed."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import ConcurrencyLimiter

from nas.events import Event, Notice, TrialFinished, TrialStarted
from nas.ray_tune import TuneStudy, resume_tune_study, tune_study
from space import NasError
from trials.evaluators.surrogate import Surrogate
from trials.rows import StoreError
from trials.store import Store

LOCAL: dict[str, Any] = {
    "address": "local",
    "num_cpus": 2,
    "include_dashboard": False,
    "log_to_driver": False,
    "logging_level": "ERROR",
    "object_store_memory": 80 * 2**20,
}


@pytest.fixture(scope="module")
def place() -> Iterator[str]:
    """A folder with a short path: Ray puts sockets there."""
    folder = tempfile.mkdtemp(prefix="ray-")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def local_ray(place: str) -> Iterator[None]:
    ray.init(**LOCAL, _temp_dir=place)
    yield
    ray.shutdown()


def unlucky(train: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    """Train, but trial 1 raises whenever it is tried."""

    def train_point(config: dict[str, Any]) -> None:
        from trials.evaluators.surrogate import Surrogate

        whole = Surrogate.evaluate

        def evaluate(self: Any, job: Any, on_epoch: Any) -> Any:
            if job.trial_number == 1:
                raise RuntimeError("no luck")
            return whole(self, job, on_epoch)

        Surrogate.evaluate = evaluate
        try:
            train(config)
        finally:
            Surrogate.evaluate = whole

    return train_point


def test_schedulers_stop_trials_and_failures_are_recorded(
    local_ray: None, tmp_path: Path, nas: Callable[..., Any]
) -> None:
    drivers: list[str | None] = []

    def listen(event: Event) -> None:
        if isinstance(event, (TrialStarted, TrialFinished)):
            with Store.open(tmp_path / "nas.db") as other:
                drivers.append(other.summary("tuned").driver)

    study = tune_study(
        "tiny", budget=9, store=tmp_path / "nas.db", study="tuned", train_as="full", epochs=3, on_event=listen,
        limits=["params<=40k"], evaluators=(Surrogate(epochs=3),),
    )  # fmt: skip
    grid = tune.Tuner(
        unlucky(study.trainable),
        tune_config=tune.TuneConfig(
            search_alg=ConcurrencyLimiter(study.searcher, 1),
            num_samples=-1,
            scheduler=ASHAScheduler("epoch", "accuracy", "max", max_t=3, reduction_factor=2),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="t", storage_path=str(tmp_path), failure_config=tune.FailureConfig(max_failures=1), verbose=0
        ),
    ).fit()
    rows = study.store.trials(study.store.study("tuned").id)
    trained = [row for row in rows if row.state not in ("infeasible", "duplicate")]
    assert len(trained) == len(grid) == 9
    assert len(grid.errors) == 1
    (failed,) = [row for row in trained if row.state == "failed"]
    assert (failed.number, failed.reason, failed.attempt, failed.epochs) == (1, "RuntimeError: no luck", 2, 0)
    stopped = [row for row in trained if row.state == "stopped"]
    assert stopped
    assert all(row.reason == f"stopped by Ray Tune after epoch {row.epochs}" and row.epochs < 3 for row in stopped)
    assert all(row.epochs == 3 for row in trained if row.state == "complete")
    assert {row.number: row.epochs for row in trained} == {
        row.number: len(study.store.epochs_of(row.id)) for row in trained
    }
    assert max(row.params or 0 for row in trained) <= 40_000
    accuracies = {result.metrics["trial"]: result.metrics["accuracy"] for result in grid if result.metrics}
    assert all(row.values["accuracy"] == accuracies[row.number] for row in trained if row.state != "failed")
    assert len(drivers) >= 18
    assert None not in drivers
    summary = study.store.summary("tuned")
    assert (summary.driver, summary.trained, summary.counts["running"]) == (None, 9, 0)
    store = ("--store", tmp_path / "nas.db")
    front = json.loads(nas("front", "tuned", *store, "--json").out)
    assert front
    assert {point["trial"] for point in front} <= {row.number for row in trained if row.state == "complete"}
    assert nas("report", "tuned", *store, "--out", tmp_path / "report.html").code == 0
    assert "stopped by Ray Tune after epoch" in nas("trials", "tuned", *store, "--state", "stopped").out


DRIVER = """
import json, os
os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "0"
import ray
from ray import tune
from nas.ray_tune import tune_study
from trials.evaluators.surrogate import Surrogate

folder, place, options = args
ray.init(**json.loads(options), _temp_dir=place)
study = tune_study(
    "tiny", budget=6, store=folder + "/nas.db", study="tuned", train_as="full", epochs=3,
    evaluators=(Surrogate(epochs=3, sleep_ms=150),),
)
tune.Tuner(
    study.trainable,
    tune_config=tune.TuneConfig(
        search_alg=study.searcher, num_samples=6, max_concurrent_trials=1, reuse_actors=True
    ),
    run_config=tune.RunConfig(name="t", storage_path=folder, verbose=0),
).fit()
"""


def test_a_killed_driver_loses_nothing_and_tune_restores_its_run(
    local_ray: None, tmp_path: Path, fork_fresh: Callable[..., Any]
) -> None:
    own = tempfile.mkdtemp(prefix="ray-")
    child = fork_fresh(DRIVER, str(tmp_path), own, json.dumps(LOCAL))
    try:
        before = _state_after(tmp_path / "nas.db", 3, child)
        child.kill()
    finally:
        shutil.rmtree(own, ignore_errors=True)
    study = resume_tune_study("tuned", store=tmp_path / "nas.db")
    assert study.store.summary("tuned").driver is None
    begun = {row.number for row in study.store.trials(study.store.study("tuned").id, state="running")}
    assert begun
    tune.Tuner.restore(str(tmp_path / "t"), trainable=study.trainable).fit()
    rows = study.store.trials(study.store.study("tuned").id)
    trained = [row for row in rows if row.state == "complete"]
    summary = study.store.summary("tuned")
    assert (len(trained), summary.trained, summary.driver) == (6, 6, None)
    after = {row.number: row for row in rows}
    assert before.items() <= {number: (row.state, row.attempt, row.finished) for number, row in after.items()}.items()
    assert all(len(study.store.epochs_of(row.id)) == 3 for row in trained)
    assert {row.number: row.attempt for row in trained} == {row.number: 1 + (row.number in begun) for row in trained}


def _state_after(path: Path, count: int, child: Any) -> dict[int, tuple[Any, ...]]:
    """Wait until so many trials are complete and another is under way; return the complete ones."""
    while True:
        if (child.folder / "code").exists():
            pytest.fail(f"the driver ended: {child.errors()}")
        if path.exists():
            with Store.open(path) as store:
                rows = store.trials(store.study("tuned").id) if store.studies() else []
            done = [row for row in rows if row.state == "complete"]
            if len(done) >= count and sum(row.state == "running" and row.epochs > 0 for row in rows) == 1:
                return {row.number: (row.state, row.attempt, row.finished) for row in done}
        time.sleep(0.05)


def test_more_threads_than_a_node_has_are_refused_at_once(local_ray: None, tmp_path: Path) -> None:
    study = tune_study(
        "tiny", budget=2, store=tmp_path / "nas.db", study="s", train_as="full", evaluators=(Surrogate(),), threads=3
    )
    config = tune.TuneConfig(search_alg=study.searcher, num_samples=2)
    run = tune.RunConfig(name="t", storage_path=str(tmp_path), verbose=0)
    with pytest.raises(NasError, match="threads: 3 CPU for each trial, allowed: up to 2, what a node of Ray has"):
        tune.Tuner(study.trainable, tune_config=config, run_config=run).fit()
    assert study.store.summary("s").trials == 0


def test_wrong_settings_are_refused_in_one_line_and_nothing_is_stored(tmp_path: Path) -> None:
    def begin(**settings: Any) -> TuneStudy:
        chosen = {"train_as": "full", "evaluators": (Surrogate(),), **settings}
        return tune_study("tiny", budget=2, store=tmp_path / "nas.db", study="s", **chosen)

    with pytest.raises(NasError, match="then: 'full:2', allowed: none"):
        begin(then={"count": 2})
    with pytest.raises(NasError, match="fidelity: 'pareto_halving:3', allowed: none"):
        begin(fidelity="pareto_halving")
    with pytest.raises(NasError, match="sampler"):
        begin(sampler="annealing")
    assert list(tmp_path.iterdir()) == []
    searcher = begin().searcher
    with pytest.raises(NasError, match=r"param_space: \['lr'\], allowed: none"):
        searcher.set_search_properties(None, None, {"lr": 0.1})
    with pytest.raises(StoreError, match="study 's': exists"):
        begin()
    with pytest.raises(StoreError, match="no such file"):
        resume_tune_study("s", store=tmp_path / "other.db")


def test_warm_starts_are_scored_before_tune_begins(tmp_path: Path) -> None:
    events: list[Event] = []
    study = tune_study(
        "tiny", budget=4, store=tmp_path / "nas.db", train_as="full", evaluators=(Surrogate(),), on_event=events.append,
        warm_start="proxy:params:12",
    )  # fmt: skip
    assert any(isinstance(event, Notice) and "12 random points" in event.text for event in events)
    assert study.name.startswith("tiny-")
    assert isinstance(study.searcher.suggest("a"), dict)
    (row,) = study.store.trials(study.store.study(study.name).id)
    assert row.origin == "proxy:params"
