"""The searcher and the trainable of Ray Tune, called as Tune calls them, without any process of Ray."""

from __future__ import annotations

import copy
import gc
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import tune
from ray.tune.search import ConcurrencyLimiter, Searcher

from nas.ray_tune import TuneStudy, resume_tune_study, tune_study
from nas.samplers import sampler_names
from nas.tune_searcher import UNTOLD
from space import NasError
from trials.evaluator import Job
from trials.evaluators.surrogate import Surrogate
from trials.measurement import Measured
from trials.rows import StoreError, TrialRow
from trials.store import Store

Made = Callable[..., TuneStudy]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Make a study of made-up trainings of three epochs."""

    def make(budget: int = 3, **settings: Any) -> TuneStudy:
        chosen = {"study": "s", "sampler": "random", "evaluators": (Surrogate(epochs=3),), **settings}
        return tune_study("tiny", budget=budget, store=tmp_path / "nas.db", train_as="full", epochs=3, **chosen)

    return make


@pytest.fixture
def resumed(tmp_path: Path) -> Made:
    return lambda **settings: resume_tune_study("s", store=tmp_path / "nas.db", **settings)


class Tune:
    """Runs trials as a TuneController does, one report at a time."""

    def __init__(self, study: TuneStudy, monkeypatch: pytest.MonkeyPatch) -> None:
        self.study, self.searcher = study, study.searcher
        self.reports: list[dict[str, Any]] = []
        monkeypatch.setattr(tune, "report", lambda metrics, checkpoint=None: self.reports.append(metrics))

    def begin(self, trial_id: str) -> dict[str, Any]:
        config = self.searcher.suggest(trial_id)
        assert isinstance(config, dict)
        return config

    def told(self, config: dict[str, Any]) -> list[dict[str, Any]]:
        """Train; return the reports with what Tune adds to them."""
        self.reports.clear()
        self.study.trainable(config)
        return [self.filled(report, index) for index, report in enumerate(self.reports, start=1)]

    @staticmethod
    def filled(report: dict[str, Any], index: int, start: float = 0.0) -> dict[str, Any]:
        numbers = {"training_iteration": index, "iterations_since_restore": index, "time_total_s": start + index}
        return {**report, "pid": 1, **numbers}

    def run(self, trial_id: str, stop_after: int | None = None) -> dict[str, Any]:
        """Run a trial to its end, or until a scheduler stops it at this report, which then is not passed on."""
        config = self.begin(trial_id)
        results = self.told(config)
        for result in results[: (stop_after or len(results)) - 1]:
            self.searcher.on_trial_result(trial_id, result)
        last = results[(stop_after or len(results)) - 1]
        if stop_after is None:
            self.searcher.on_trial_result(trial_id, last)
        self.searcher.on_trial_complete(trial_id, {**last, "done": True})
        return config


def rows(study: TuneStudy) -> list[TrialRow]:
    return study.store.trials(study.store.study(study.name).id)


def curve(study: TuneStudy, number: int) -> list[tuple[int, int]]:
    """Epochs of a trial with the attempt that each is of."""
    return [(each.epoch, each.attempt) for each in study.store.epochs_of(rows(study)[number].id)]


def test_a_trial_is_stored_from_its_proposal_to_its_result(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    study = made()
    play = Tune(study, monkeypatch)
    config = play.begin("a")
    (row,) = rows(study)
    assert (row.state, row.worker, row.number) == ("running", "ray-tune", config["trial"])
    assert config["choices"] == row.choices
    assert study.store.summary("s").driver is not None
    results = play.told(config)
    assert [result["epoch"] for result in results] == [1, 2, 3]
    play.searcher.on_trial_result("a", results[0])
    assert rows(study)[0].epochs == 1
    for result in results[1:]:
        play.searcher.on_trial_result("a", result)
    play.searcher.on_trial_complete("a", results[-1])
    (row,) = rows(study)
    assert (row.state, row.attempt, row.reason) == ("complete", 1, None)
    assert curve(study, 0) == [(1, 1), (2, 1), (3, 1)]
    assert row.values["accuracy"] == results[-1]["accuracy"]
    assert results[-1]["params"] == row.params
    assert study.store.summary("s").driver is None
    assert [point.trial for point in study.front()] == [0]


def test_the_same_seed_proposes_what_nas_search_proposes(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    from nas.executors import Inline
    from nas.search import run_search

    study = made(budget=5, seed=3)
    play = Tune(study, monkeypatch)
    for number in range(5):
        play.run(str(number))
    settings = {**study.store.study("s").config, "study": "other", "repeat": True}
    from nas.settings import SearchSettings

    run_search(study.store, SearchSettings.make(**settings), executor=Inline())
    other = study.store.trials(study.store.study("other").id)
    assert [(row.arch_id, row.state, row.seed, row.values) for row in rows(study)] == [
        (row.arch_id, row.state, row.seed, row.values) for row in other
    ]


@pytest.mark.parametrize("stopped_at", [1, 2])
def test_a_stopped_trial_keeps_its_epochs_and_is_on_no_front(
    made: Made, monkeypatch: pytest.MonkeyPatch, stopped_at: int
) -> None:
    study = made()
    play = Tune(study, monkeypatch)
    play.run("a", stop_after=stopped_at)
    play.run("b", stop_after=3)  # as schedulers do with a trial that has had all its epochs
    first, second = rows(study)
    assert (first.state, first.epochs) == ("stopped", stopped_at)
    assert first.reason == f"stopped by Ray Tune after epoch {stopped_at}"
    assert curve(study, 0) == [(epoch, 1) for epoch in range(1, stopped_at + 1)]
    assert 0 < first.values["accuracy"] < 1
    assert second.state == "complete"
    assert curve(study, 1) == [(1, 1), (2, 1), (3, 1)]
    assert [point.trial for point in study.front()] == [1]


def test_a_trial_that_is_tried_again_counts_its_attempts(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    study = made()
    play = Tune(study, monkeypatch)
    results = play.told(play.begin("a"))
    play.searcher.on_trial_result("a", results[0])
    play.searcher.on_trial_result("a", results[1])
    for index, result in enumerate(results, start=1):  # its process died, the next one begins anew
        play.searcher.on_trial_result("a", play.filled(result, index, start=10.0))
    play.searcher.on_trial_complete("a", play.filled(results[-1], 3, start=10.0))
    (row,) = rows(study)
    assert (row.state, row.attempt) == ("complete", 2)
    assert curve(study, 0) == [(1, 2), (2, 2), (3, 2)]


def test_an_error_is_reported_then_raised_then_stored(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Surrogate, job: Job, on_epoch: Callable[..., None]) -> dict[str, Measured]:
        on_epoch(1, {"accuracy": 0.2, "loss": 2.0})
        raise RuntimeError("no luck")

    study = made()
    play = Tune(study, monkeypatch)
    config = play.begin("a")
    monkeypatch.setattr(Surrogate, "evaluate", fail)
    with pytest.raises(RuntimeError, match="no luck"):
        play.told(config)
    for index, report in enumerate(play.reports, start=1):
        assert report["accuracy"] == 0.2  # schedulers see no number that was not measured
        play.searcher.on_trial_result("a", play.filled(report, index))
    play.searcher.on_trial_complete("a", error=True)
    play.begin("b")
    play.searcher.on_trial_complete("b", error=True)
    first, second = rows(study)
    assert (first.state, first.reason, first.epochs) == ("failed", "RuntimeError: no luck", 1)
    assert (second.state, second.reason) == ("failed", UNTOLD)
    assert study.front() == []


def test_any_number_of_failures_alike_leave_it_to_tune_to_stop(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    study = made(budget=7)
    play = Tune(study, monkeypatch)
    for number in range(7):
        play.begin(str(number))
        play.searcher.on_trial_complete(str(number), error=True)
    assert [row.state for row in rows(study)] == ["failed"] * 7
    assert play.searcher.suggest("x") == Searcher.FINISHED


def test_the_budget_ends_the_proposals_and_a_larger_one_goes_on(
    made: Made, resumed: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = made(budget=2)
    play = Tune(study, monkeypatch)
    play.begin("a")
    play.run("b")
    assert play.searcher.suggest("c") is None  # the first may yet turn out to be outside a measured limit
    play.searcher.on_trial_complete("a", error=True)
    assert play.searcher.suggest("d") == Searcher.FINISHED
    assert study.store.summary("s").driver is None
    more = resumed(budget=3)
    play = Tune(more, monkeypatch)
    play.run("e")
    assert play.searcher.suggest("f") == Searcher.FINISHED
    assert [row.state for row in rows(more)] == ["failed", "complete", "complete"]


def test_a_study_that_was_cut_off_goes_on_in_another_process(
    made: Made, resumed: Made, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    study = made(budget=4)
    play = Tune(study, monkeypatch)
    play.run("a")
    known, lost = play.begin("b"), play.begin("c")
    play.searcher.on_trial_result("b", play.told(known)[0])
    play.searcher.save(str(tmp_path / "state"))
    finished_since = play.run("d")
    again = resumed()  # as after a kill: the former searcher is told nothing more
    assert [row.state for row in rows(again)] == ["complete", "queued", "queued", "complete"]
    after = Tune(again, monkeypatch)
    note = pickle.loads(pickle.dumps(ConcurrencyLimiter(play.searcher, 2)))
    assert note.searcher is again.searcher
    after.searcher.restore(str(tmp_path / "state"))
    assert [row.state for row in rows(again)] == ["complete", "running", "running", "complete"]
    for trial_id, config in (("b", known), ("c", lost)):
        results = after.told(config)
        for result in results:
            after.searcher.on_trial_result(trial_id, result)
        after.searcher.on_trial_complete(trial_id, results[-1])
    assert after.searcher.suggest("x") == Searcher.FINISHED
    assert [(row.state, row.attempt) for row in rows(again)] == [("complete", n) for n in (1, 2, 2, 1)]
    (told,) = after.told(finished_since)  # Tune may believe it open: it is not trained again
    assert (told["epoch"], told["accuracy"]) == (3, rows(again)[3].values["accuracy"])
    after.searcher.on_trial_result("d", told)
    after.searcher.on_trial_complete("d", told)
    assert rows(again)[3].attempt == 1
    assert again.store.summary("s").driver is None


def test_a_trial_that_tune_drops_before_its_first_epoch_is_queued_again(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = made()
    play = Tune(study, monkeypatch)
    config = play.begin("a")
    play.searcher.on_trial_complete("a")
    assert rows(study)[0].state == "queued"
    assert study.store.summary("s").driver is None
    assert play.run("b") == config
    assert [row.state for row in rows(study)] == ["complete"]


def test_limits_hold_and_results_of_the_store_are_taken(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    study = made(budget=6, limits=["params<=12k"])
    play = Tune(study, monkeypatch)
    for number in range(6):
        play.run(str(number))
    trained = [row for row in rows(study) if row.state == "complete"]
    assert len(trained) == 6
    assert max(row.params or 0 for row in trained) <= 12_000
    config = study.store.study("s").config
    alike = ("limits", "recipe", "train_as", "resolution", "cost_resolution", "evaluators", "sampler")
    twin = {key: config[key] for key in alike}
    same = tune_study("tiny", budget=6, store=study.store.url, study="again", **twin)
    assert same.searcher.suggest("x") == Searcher.FINISHED
    assert [row.reused for row in rows(same) if row.state == "complete"] == [f"s:{row.number}" for row in trained]


@pytest.mark.parametrize("name", sampler_names())
def test_every_sampler_proposes(made: Made, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    study = made(budget=14, sampler=name)
    play = Tune(study, monkeypatch)
    for number in range(7):
        play.begin(f"{number}")
        play.run(f"{number}+")
        play.searcher.on_trial_complete(f"{number}", error=True)
    assert sum(row.state in ("complete", "failed") for row in rows(study)) == 14


def test_one_process_drives_a_study(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    study = made()
    with Store.open(study.store.url) as other, other.lease("s"), pytest.raises(StoreError, match="driven by process"):
        study.searcher.suggest("a")
    assert copy.deepcopy(study.searcher) is study.searcher
    Tune(study, monkeypatch).run("b")
    with study:
        study.searcher.suggest("c")
    with Store.open(study.store.url) as other:
        assert other.summary("s").driver is None
        assert [row.state for row in other.trials(study.store.study("s").id)] == ["complete", "queued"]


def test_a_study_that_nobody_holds_any_more_is_given_back(made: Made) -> None:
    study = made()
    url, store = study.store.url, Store.open(study.store.url)
    study.searcher.suggest("a")
    assert store.summary("s").driver is not None
    del study
    gc.collect()
    with store:
        assert (store.summary("s").driver, store.url) == (None, url)
        assert store.summary("s").counts["queued"] == 1


def test_trials_that_no_node_has_room_for_are_refused(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [{"Alive": True, "Resources": {"CPU": 4.0}}, {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}}]
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    with pytest.raises(NasError, match="threads: 5 CPU for each trial, allowed: up to 4, what a node of Ray has"):
        made(threads=5).searcher.suggest("a")
    monkeypatch.setattr("nas.tune_searcher.gpu_share", lambda settings: 0.5)
    with pytest.raises(NasError, match=r"device: 0\.5 GPU for each trial, allowed: up to 0"):
        made(study="t").searcher.suggest("a")
    nodes[0]["Resources"]["CPU"] = 0.0  # the head of a cluster that grows by itself
    assert isinstance(made(study="u").searcher.suggest("a"), dict)


def test_what_others_have_done_meanwhile_is_taken_in(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    from nas.executors import Inline
    from nas.search import resume_search

    study = made(budget=4)
    play = Tune(study, monkeypatch)
    play.run("a")
    assert resume_search(study.store, "s", executor=Inline(), budget=3).done == 3
    assert play.searcher.suggest("b") == Searcher.FINISHED
    assert len({row.arch_id for row in rows(study)}) == 3
