"""What a worker of Ray Tune does with a point, without any process of Ray."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from ray import tune

from nas.ray_tune import TuneStudy, resume_tune_study, tune_study
from nas.tune_trainable import TrialFailed
from trials.evaluators.latency import Latency
from trials.evaluators.surrogate import Surrogate
from trials.evaluators.train import Train
from trials.measurement import Measured


def begun(folder: Path, *evaluators: Any, study: str = "s", **settings: Any) -> tuple[TuneStudy, dict[str, Any]]:
    """Make a study of three epochs a trial, and return it with the config of its first trial."""
    made = tune_study(
        "tiny", budget=2, store=folder / "nas.db", study=study, train_as="full", epochs=3, evaluators=evaluators,
        **settings,
    )  # fmt: skip
    config = made.searcher.suggest("a")
    assert isinstance(config, dict)
    return made, config


def ended(study: TuneStudy, reports: list[dict[str, Any]]) -> Any:
    """Pass the reports on as Tune does, and return the row of the first trial."""
    for index, report in enumerate(reports, start=1):
        study.searcher.on_trial_result("a", {**report, "training_iteration": index})
    study.searcher.on_trial_complete("a", {**reports[-1], "training_iteration": len(reports)})
    return study.store.trial(study.store.study(study.name).id, 0)


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is reported to Tune."""
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(tune, "report", lambda metrics, checkpoint=None: found.append(metrics))
    return found


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every network take 50 ms."""
    measured = {"latency_ms": Measured(50.0, "ms", 1.0)}
    monkeypatch.setattr(Latency, "metrics", ("latency_ms",))
    monkeypatch.setattr(Latency, "evaluate", lambda self, job, on_epoch: measured)


def test_the_result_comes_with_the_last_epoch(tmp_path: Path, reports: list[dict[str, Any]]) -> None:
    study, config = begun(tmp_path, Surrogate(epochs=3))
    study.trainable(config)
    assert [report["epoch"] for report in reports] == [1, 2, 3]
    assert ["nas_result" in report for report in reports] == [False, False, True]
    assert all({"accuracy", "loss", "params", "macs"} <= set(report) for report in reports)
    assert {report["trial"] for report in reports} == {0}


def test_a_network_that_is_too_slow_is_not_trained(tmp_path: Path, reports: list[dict[str, Any]], slow: None) -> None:
    study, config = begun(tmp_path, Surrogate(epochs=3), Latency(), limits=["latency_ms<=20"])
    study.trainable(config)
    (report,) = reports
    assert report["latency_ms"] == 50.0
    assert math.isnan(report["accuracy"])
    row = ended(study, reports)
    assert (row.state, row.reason, row.epochs) == ("infeasible", "latency_ms 50 > 20", 0)


def test_only_what_the_store_does_not_know_is_measured(
    tmp_path: Path, reports: list[dict[str, Any]], slow: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, config = begun(tmp_path, Surrogate(epochs=3))
    study.trainable(config)
    accuracy = ended(study, reports).values["accuracy"]
    reports.clear()
    again, config = begun(tmp_path, Surrogate(epochs=3), Latency(), study="again")
    assert config["known"]["evaluators"] == ["surrogate"]
    monkeypatch.setattr(Surrogate, "evaluate", None)
    again.trainable(config)
    (report,) = reports
    assert (report["accuracy"], report["latency_ms"]) == (accuracy, 50.0)
    row = ended(again, reports)
    assert (row.state, row.reused) == ("complete", "s:0")
    assert (row.values["accuracy"], row.values["latency_ms"]) == (accuracy, 50.0)


def test_a_trial_that_has_failed_fails_again_untried(tmp_path: Path, reports: list[dict[str, Any]]) -> None:
    study, config = begun(tmp_path, Surrogate(epochs=3))
    study.searcher.on_trial_complete("a", error=True)
    again = resume_tune_study("s", store=tmp_path / "nas.db")
    with pytest.raises(TrialFailed, match="trial s:0: its process ended"):
        again.trainable(config)
    assert reports == []


def test_a_trial_goes_on_from_the_checkpoint_that_it_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, told = tmp_path / "kept", list[int]()
    study, config = begun(tmp_path, Train(), checkpoints=True, limits=["params<=10k"])

    def report(metrics: dict[str, Any], checkpoint: tune.Checkpoint | None = None) -> None:
        told.append(metrics["epoch"])
        if checkpoint is not None and not kept.exists():
            shutil.copytree(checkpoint.path, kept)
            raise SystemExit  # as Tune ends the thread of a trial

    monkeypatch.setattr(tune, "report", report)
    monkeypatch.setattr(tune, "get_checkpoint", lambda: tune.Checkpoint.from_directory(str(kept)) if told else None)
    with pytest.raises(SystemExit):
        study.trainable(config)
    study.trainable(config)
    assert told == [1, 2, 3]
