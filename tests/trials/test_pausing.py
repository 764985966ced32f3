"""A trial that waits with a training half done: queued, counted apart, and started again in the same attempt."""

from pathlib import Path

import pytest

from trials.measurement import Measured
from trials.rows import StoreError, TrialRow
from trials.store import Store

REACHED = {"epoch": 3, "values": {"accuracy": 0.5}, "seconds": 100.0, "outcome": {"train": {}}, "sha256": "f" * 64}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "nas.db")


def begun(store: Store) -> TrialRow:
    study = store.create_study("s", space="x", config={"budget": 2}, code_version="1", data_fingerprint="f")
    row = store.add_trial(
        study.id, state="queued", arch_id="a" * 16, arch_json="{}", params=1, macs=2, choices={}, seed=1, sampler="tpe",
        extra={"description": "net"},
    )  # fmt: skip
    store.start_trial(row.id, worker="w", attempt=1)
    return row


def only(store: Store) -> TrialRow:
    return store.trials(1)[0]


def test_a_paused_trial_waits_and_goes_on_in_the_same_attempt(store: Store) -> None:
    row = begun(store)
    store.add_epoch(row.id, attempt=1, epoch=3, metrics={"accuracy": 0.5})
    store.pause_trial(row.id, reason="waiting at rung 1 of 2", rungs=[REACHED])
    paused = only(store)
    assert (paused.state, paused.waiting, paused.epochs, paused.rungs) == ("queued", True, 3, [REACHED])
    assert paused.extra["description"] == "net"
    assert (paused.values, paused.readings, paused.seconds) == ({}, {"accuracy": 0.5}, None)
    assert (store.summary("s").waiting, store.summary("s").trained) == (1, 0)
    store.start_trial(row.id, worker="v", attempt=1)
    assert (only(store).state, only(store).reason, only(store).waiting) == ("running", None, False)
    assert store.requeue(1) == 1
    assert not only(store).waiting, "interrupted on its way, it has not come back to its rung"


def test_what_ends_keeps_the_way_and_not_what_it_would_have_gone_on_with(store: Store) -> None:
    row = begun(store)
    store.pause_trial(row.id, reason="waiting", rungs=[REACHED])
    store.finish_trial(row.id, state="stopped", reason="stopped", measurements={"accuracy": Measured(0.5, "ratio")})
    ended = only(store)
    assert ended.rungs == [{"epoch": 3, "values": {"accuracy": 0.5}, "seconds": 100.0}]
    assert ended.seconds == 100.0
    assert ended.values == ended.readings == {"accuracy": 0.5}
    assert (store.summary("s").waiting, store.summary("s").trained) == (0, 1)


def test_a_whole_training_took_as_long_as_its_stretches(store: Store) -> None:
    row = begun(store)
    store.pause_trial(row.id, reason="waiting", rungs=[REACHED])
    store.start_trial(row.id, worker="v", attempt=1)
    store.finish_trial(row.id, state="complete", measurements={"accuracy": Measured(0.9, "ratio")})
    assert only(store).readings == {"accuracy": 0.9}
    assert 100.0 <= (only(store).seconds or 0.0) < 160.0


def test_only_what_runs_can_wait(store: Store) -> None:
    row = begun(store)
    store.pause_trial(row.id, reason="waiting", rungs=[REACHED])
    with pytest.raises(StoreError, match="trial s:0: queued, only a running trial can wait at a rung"):
        store.pause_trial(row.id, reason="waiting", rungs=[REACHED])
