"""Many processes at one store, and processes that are killed while they write."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trials.rows import TrialRow
from trials.store import Store

PROCESSES = 8

OPENER = """
import sys
import alembic.command
from trials.store import Store
sys.stdin.readline()
with Store.open(sys.argv[1]) as store:
    store.create_study(f"study-{sys.argv[2]}", space="", config={}, code_version="", data_fingerprint="")
"""

ADDER = """
import sys
from trials.store import Store
with Store.open(sys.argv[1]) as store:
    study = store.study("shared")
    sys.stdin.readline()
    for turn in range(10):
        trial = store.add_trial(
            study.id, state="queued", arch_id=f"{turn % 3:016x}", arch_json="{}", params=1, macs=1, choices={},
            seed=turn, sampler=sys.argv[2])
        store.start_trial(trial.id, worker="w", attempt=1)
        store.add_epoch(trial.id, attempt=1, epoch=1, metrics={"loss": 1.0})
        store.finish_trial(trial.id, state="complete")
"""

VICTIM = """
import sys
from trials.measurement import Measured
from trials.store import Store
with Store.open(sys.argv[1]) as store, store.lease("shared"):
    study = store.study("shared")
    store.requeue(study.id)
    print("driving", flush=True)
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


def start(code: str, url: str, name: str = "") -> subprocess.Popen[str]:
    pipes = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", code, url, name], stdin=pipes, stdout=pipes, stderr=pipes, text=True)


def run_at_once(code: str, url: str) -> None:
    """Start the processes, let all of them import, then let all of them go."""
    children = [start(code, url, str(n)) for n in range(PROCESSES)]
    time.sleep(0.2)
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    errors = [child.communicate()[1] for child in children]
    assert [child.returncode for child in children] == [0] * PROCESSES, "\n".join(errors)


def test_processes_may_all_make_the_same_store(store_url: str) -> None:
    run_at_once(OPENER, store_url)
    with Store.open(store_url, create=False) as store:
        assert {s.name for s in store.studies()} == {f"study-{n}" for n in range(PROCESSES)}


def test_numbers_stay_gap_free_when_processes_add_at_once(store_url: str) -> None:
    with Store.open(store_url) as store:
        study = store.create_study("shared", space="", config={}, code_version="", data_fingerprint="")
        run_at_once(ADDER, store_url)
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


def test_a_kill_at_any_moment_leaves_whole_trials(store_url: str) -> None:
    moments = random.Random(0)
    with Store.open(store_url) as store:
        study = store.create_study("shared", space="", config={}, code_version="", data_fingerprint="")
        for _ in range(4):
            victim = start(VICTIM, store_url)
            assert victim.stdout is not None
            # the lease of the driver killed before is free at once
            line = victim.stdout.readline()
            time.sleep(moments.uniform(0, 0.3))
            victim.kill()
            _, errors = victim.communicate()
            assert line == "driving\n", errors
            trials = store.trials(study.id)
            curves = [(e.number, e.metrics) for e in store.epochs(study.id)]
            assert [t.number for t in trials] == list(range(len(trials)))
            assert all(metrics == {"loss": 1.0, "accuracy": 0.5} for _, metrics in curves)
            assert all(whole(t, sum(number == t.number for number, _ in curves)) for t in trials)
            assert sum(t.state == "running" for t in trials) <= 1
        assert any(t.state == "complete" for t in trials)
        assert store.requeue(study.id) <= 1
        assert store.summary("shared").driver is None


@pytest.mark.parametrize("name", ["store.db", "store.db-wal", "store.db-shm"])
def test_a_closed_store_is_one_file(tmp_path: Path, name: str) -> None:
    with Store.open(tmp_path / "store.db") as store:
        store.create_study("one", space="", config={}, code_version="", data_fingerprint="")
    assert (tmp_path / name).exists() == (name == "store.db")
