"""Many processes at one store, and processes that are killed while they write."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trials.rows import TrialRow
from trials.store import Store

PROCESSES = 8
Fork = Callable[..., Any]

WAIT = """
import pathlib, time
def wait():
    say("ready")
    while not pathlib.Path(args[2]).exists():
        time.sleep(0.001)
"""

OPENER = (
    WAIT
    + """
from trials.store import Store
wait()
with Store.open(args[0]) as store:
    store.create_study(f"study-{args[1]}", space="", config={}, code_version="", data_fingerprint="")
"""
)

ADDER = (
    WAIT
    + """
from trials.store import Store
with Store.open(args[0]) as store:
    study = store.study("shared")
    wait()
    for turn in range(10):
        trial = store.add_trial(
            study.id, state="queued", arch_id=f"{turn % 3:016x}", arch_json="{}", params=1, macs=1, choices={},
            seed=turn, sampler=args[1])
        store.start_trial(trial.id, worker="w", attempt=1)
        store.add_epoch(trial.id, attempt=1, epoch=1, metrics={"loss": 1.0})
        store.finish_trial(trial.id, state="complete")
"""
)

VICTIM = """
from trials.measurement import Measured
from trials.store import Store
with Store.open(args[0]) as store, store.lease("shared"):
    study = store.study("shared")
    store.requeue(study.id)
    say("driving")
    for turn in range(100_000):
        trial = store.add_trial(
            study.id, state="queued", arch_id=f"{turn:016x}", arch_json="{}", params=1, macs=1, choices={},
            seed=turn, sampler="random")
        store.start_trial(trial.id, worker="w", attempt=1)
        for epoch in (1, 2):
            store.add_epoch(trial.id, attempt=1, epoch=epoch, metrics={"loss": 1.0, "accuracy": 0.5})
        measured = {"accuracy": Measured(0.5, "ratio"), "loss": Measured(1.0, "nats")}
        store.finish_trial(trial.id, state="complete", measurements=measured)
"""


def run_at_once(fork: Fork, code: str, url: str, gate: Path) -> None:
    """Start the processes, then open the gate to all of them."""
    children = [fork(code, url, str(n), str(gate)) for n in range(PROCESSES)]
    for child in children:
        child.heard("ready")
    gate.touch()
    assert [child.ended() for child in children] == [0] * PROCESSES, "\n".join(child.errors() for child in children)


def test_processes_may_all_make_the_same_store(store_url: str, fork: Fork, tmp_path: Path) -> None:
    run_at_once(fork, OPENER, store_url, tmp_path / "gate")
    with Store.open(store_url, create=False) as store:
        assert {s.name for s in store.studies()} == {f"study-{n}" for n in range(PROCESSES)}


def test_numbers_stay_gap_free_when_processes_add_at_once(store_url: str, fork: Fork, tmp_path: Path) -> None:
    with Store.open(store_url) as store:
        study = store.create_study("shared", space="", config={}, code_version="", data_fingerprint="")
        run_at_once(fork, ADDER, store_url, tmp_path / "gate")
        trials = store.trials(study.id)
        assert [t.number for t in trials] == list(range(10 * PROCESSES))
        assert {(t.state, t.epochs) for t in trials} == {("complete", 1)}
        for name in range(PROCESSES):
            assert [t.seed for t in trials if t.sampler == str(name)] == list(range(10))


def whole(trial: TrialRow, epochs: int) -> bool:
    """Whether the rows of a trial are those of one moment of its life, nothing half written."""
    values = {"accuracy": 0.5, "loss": 1.0}
    match trial.state:
        case "queued" | "running":
            return trial.values == {} and trial.epochs == epochs
        case "complete":
            return trial.values == values and trial.epochs == epochs == 2 and trial.finished is not None
        case _:
            return False


def test_a_kill_at_any_moment_leaves_whole_trials(store_url: str, fork: Fork) -> None:
    moments = random.Random(0)
    with Store.open(store_url) as store:
        study = store.create_study("shared", space="", config={}, code_version="", data_fingerprint="")
        for _ in range(10):
            victim = fork(VICTIM, store_url)
            # the lease of the driver killed before is free at once
            victim.heard("driving")
            time.sleep(moments.uniform(0, 0.3))
            victim.kill()
            check_whole(store, study.id)
        store.requeue(study.id)
        counts = store.summary("shared").counts
        assert counts["running"] == 0
        assert counts["complete"] > 0
        assert counts["queued"] <= 10
        assert store.summary("shared").driver is None


def check_whole(store: Store, study_id: int) -> None:
    trials, curves = store.trials(study_id), store.epochs(study_id)
    epochs = Counter(e.number for e in curves)
    assert [t.number for t in trials] == list(range(len(trials)))
    assert all(e.metrics == {"loss": 1.0, "accuracy": 0.5} for e in curves)
    assert [t for t in trials if not whole(t, epochs[t.number])] == []
    assert sum(t.state == "running" for t in trials) <= 1


@pytest.mark.parametrize("name", ["store.db", "store.db-wal", "store.db-shm"])
def test_a_closed_store_is_one_file(tmp_path: Path, name: str) -> None:
    with Store.open(tmp_path / "store.db") as store:
        store.create_study("one", space="", config={}, code_version="", data_fingerprint="")
    assert (tmp_path / name).exists() == (name == "store.db")
