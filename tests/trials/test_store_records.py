"""Learning curves, measurements and files: what a store records of trials and points."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest

from trials.measurement import Measured
from trials.rows import StoreError, StudyRow, TrialRow
from trials.store import Store


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with Store.open(store_url) as opened:
        yield opened


@pytest.fixture
def study(store: Store) -> StudyRow:
    return store.create_study("first", space="", config={}, code_version="0.1", data_fingerprint="ab")


@pytest.fixture
def running(store: Store, study: StudyRow) -> Callable[[], TrialRow]:
    def start() -> TrialRow:
        trial = store.add_trial(
            study.id,
            state="queued",
            arch_id="a" * 16,
            arch_json="{}",
            params=1,
            macs=1,
            choices={},
            seed=0,
            sampler="random",
        )
        store.start_trial(trial.id, worker="w", attempt=1)
        return trial

    return start


# -- learning curves


def test_curves_keep_what_no_number_can_say(store: Store, running: Callable[[], TrialRow]) -> None:
    trial = running()
    store.add_epoch(trial.id, attempt=1, epoch=1, metrics={"loss": math.nan, "accuracy": math.inf, "lr": -math.inf})
    (row,) = store.epochs_of(trial.id)
    assert math.isnan(row.metrics["loss"])
    assert row.metrics["accuracy"] == math.inf
    assert row.metrics["lr"] == -math.inf


def test_a_repeated_epoch_replaces_its_numbers(store: Store, study: StudyRow, running: Callable[[], TrialRow]) -> None:
    trial = running()
    store.add_epoch(trial.id, attempt=1, epoch=1, metrics={"loss": 3.0})
    store.add_epoch(trial.id, attempt=1, epoch=2, metrics={"loss": 2.0})
    store.start_trial(trial.id, worker="w", attempt=2)
    store.add_epoch(trial.id, attempt=2, epoch=2, metrics={"loss": 1.0})
    curve = [(e.number, e.epoch, e.attempt, e.metrics) for e in store.epochs(study.id)]
    assert curve == [(0, 1, 1, {"loss": 3.0}), (0, 2, 2, {"loss": 1.0})]
    with pytest.raises(StoreError, match="epoch: 0, allowed: 1 or more"):
        store.add_epoch(trial.id, attempt=2, epoch=0, metrics={})


def test_curves_come_by_trial_and_epoch(store: Store, study: StudyRow, running: Callable[[], TrialRow]) -> None:
    trials = [running() for _ in range(3)]
    for epoch in (1, 2):
        for trial in reversed(trials):
            store.add_epoch(trial.id, attempt=1, epoch=epoch, metrics={"b": epoch, "a": trial.number})
    seen = [(e.number, e.epoch, e.metrics) for e in store.epochs(study.id)]
    assert seen == [(n, e, {"a": n, "b": e}) for n in range(3) for e in (1, 2)]
    assert [e.number for e in store.epochs_of(trials[1].id)] == [1, 1]


# -- measurements and files


def test_measuring_again_in_the_same_circumstances_replaces(store: Store) -> None:
    here: dict[str, str | int | float] = {"device": "cpu", "threads": 1}
    for value, threads in ((5.0, 1), (6.0, 1), (3.0, 2)):
        measured = {"latency_ms": Measured(value, "ms", 0.5, here | {"threads": threads})}
        store.add_measurements("b" * 16, measured, arch_json="{}", evaluator="latency")
    rows = store.measurements_on("b" * 16)
    assert [(m.value, m.circumstances["threads"], m.trial_id) for m in rows] == [(6.0, 1, None), (3.0, 2, None)]


def test_several_evaluators_are_stored_together_or_not_at_all(store: Store, running: Callable[[], TrialRow]) -> None:
    trial = running()
    good = ("train", 2, {"accuracy": Measured(0.5, "ratio")})
    with pytest.raises(StoreError, match="measurement 'latency_ms': value inf"):
        bad = ("latency", 1, {"latency_ms": Measured(math.inf, "ms")})
        store.finish_trial(trial.id, state="complete", evaluations=[good, bad])
    assert store.measurements_of(trial.id) == []
    latency = ("latency", 1, {"latency_ms": Measured(3.0, "ms")})
    store.finish_trial(trial.id, state="complete", evaluations=[good, latency])
    rows = [(m.evaluator, m.version, m.metric, m.value) for m in store.measurements_of(trial.id)]
    assert rows == [("train", 2, "accuracy", 0.5), ("latency", 1, "latency_ms", 3.0)]


def test_a_measurement_of_another_point_is_refused(store: Store, running: Callable[[], TrialRow]) -> None:
    trial = running()
    with pytest.raises(StoreError, match=r"trial first:0: of architecture 'a+', measured was 'b'"):
        store.add_measurements("b", {"loss": Measured(1.0, "nats")}, trial_id=trial.id, arch_json="{}")
    with pytest.raises(StoreError, match="trial id 99: not in the store"):
        store.add_measurements(trial.arch_id, {"loss": Measured(1.0, "nats")}, trial_id=99)
    assert store.measurements_on(trial.arch_id) == []


def test_measurements_of_nothing_known_are_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="measurements: architecture 'cc' is not in store"):
        store.add_measurements("cc", {"loss": Measured(1.0, "nats")})


def test_files_are_listed_by_relative_path(store: Store, running: Callable[[], TrialRow]) -> None:
    trial = running()
    store.add_artifact(trial.id, kind="checkpoint", path="first/0/last.pt", sha256="0" * 64, bytes=2**40)
    store.add_artifact(trial.id, kind="checkpoint", path="first/0/last.pt", sha256="1" * 64, bytes=5)
    store.add_artifact(None, kind="report", path="report.html", sha256="2" * 64, bytes=6)
    (row,) = store.artifacts_of(trial.id)
    assert (row.path, row.sha256, row.bytes, row.kind) == ("first/0/last.pt", "1" * 64, 5, "checkpoint")
    assert [a.path for a in store.artifacts()] == ["first/0/last.pt", "report.html"]
    with pytest.raises(StoreError, match="artifact 'x': trial id 77 is not in store"):
        store.add_artifact(77, kind="k", path="x", sha256="", bytes=0)


@pytest.mark.parametrize("path", ["/etc/passwd", "../up", "a/../../up", ""])
def test_files_outside_the_root_are_refused(store: Store, path: str) -> None:
    with pytest.raises(StoreError, match="artifact path"):
        store.add_artifact(None, kind="k", path=path, sha256="", bytes=0)
