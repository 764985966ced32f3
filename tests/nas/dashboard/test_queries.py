"""What pages ask: frames grow as the store does, fronts are exact, pictures stay small; older stores stay untouched."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from pathlib import Path

import numpy as np
import pytest

from nas.dashboard.frames import read_frame
from nas.dashboard.fronts import front_of, thinned
from nas.dashboard.serving import opened
from nas.front_growth import growth
from nas.pareto import front, hypervolume
from tests.nas.dashboard.conftest import STUDY
from trials.measurement import Measured
from trials.migrations import known_versions
from trials.rows import Annotation, StoreError
from trials.store import Store

FIRST = Path(__file__).parents[2] / "trials" / "store_0001.sql"


def same(a, b) -> None:
    assert np.array_equal(a.ids, b.ids)
    assert np.array_equal(a.states, b.states)
    assert np.array_equal(a.epochs, b.epochs)
    assert a.metrics.keys() == b.metrics.keys()
    assert all(np.array_equal(a.metrics[name], b.metrics[name], equal_nan=True) for name in a.metrics)
    assert list(a.causes) == list(b.causes)


def test_a_frame_that_grew_equals_one_read_at_once(filled: Path) -> None:
    with Store.open(filled) as store:
        row = store.study(STUDY)
        grown = read_frame(store, row, None)
        same(grown, read_frame(store, row, grown))
        running, queued = store.trial(row.id, 10), store.trial(row.id, 11)
        store.add_epoch(running.id, attempt=1, epoch=1, metrics={"accuracy": 0.2})
        grown = read_frame(store, row, grown)
        same(grown, read_frame(store, row, None))
        assert grown.epochs[10] == 1
        store.finish_trial(running.id, state="complete", measurements={"accuracy": Measured(0.99, "ratio")})
        store.start_trial(queued.id, worker="w", attempt=1)
        store.finish_trial(queued.id, state="failed", reason="training: loss is nan in epoch 7")
        old = store.trial(row.id, 0)
        store.add_measurements(old.arch_id, {"latency_ms": Measured(2.5, "ms")}, trial_id=old.id, evaluator="latency")
        grown = read_frame(store, row, grown)
        same(grown, read_frame(store, row, None))
        assert grown.metrics["accuracy"][10] == 0.99
        assert grown.metrics["latency_ms"][0] == 2.5
        assert {(cause.state, cause.count) for cause in grown.causes} >= {("failed", 2), ("infeasible", 2)}


def test_the_first_measurement_stands(filled: Path) -> None:
    with Store.open(filled) as store:
        row = store.study(STUDY)
        trial = store.trial(row.id, 4)
        again = {"accuracy": Measured(0.1, "ratio", circumstances={"split": "test"})}
        store.add_measurements(trial.arch_id, again, trial_id=trial.id, evaluator="later")
        assert read_frame(store, row, None).metrics["accuracy"][4] == store.trial(row.id, 4).values["accuracy"] == 0.95


def test_the_pulse_changes_with_what_is_shown_and_only_then(filled: Path) -> None:
    with opened(filled) as queries, Store.open(filled) as store:
        row = store.study(STUDY)
        running = store.trial(row.id, 10)
        seen = [queries.refreshed()]
        assert queries.refreshed() == seen[0]
        store.add_epoch(running.id, attempt=1, epoch=1, metrics={"accuracy": 0.2})
        seen.append(queries.refreshed())
        store.annotate(running.id, Annotation("hm"))
        seen.append(queries.refreshed())
        store.finish_trial(running.id, state="stopped")
        seen.append(queries.refreshed())
        store.create_study("more", space="", config={}, code_version="", data_fingerprint="")
        seen.append(queries.refreshed())
        assert len(set(seen)) == len(seen)


def test_answers_are_kept_until_the_store_changes(filled: Path) -> None:
    with opened(filled) as queries, Store.open(filled) as store:
        made: list[int] = []
        for _ in range(3):
            queries.kept(("x",), lambda: made.append(1))
        assert len(made) == 1
        store.annotate(1, Annotation("x"))
        queries.refreshed()
        queries.kept(("x",), lambda: made.append(1))
        assert len(made) == 2


def test_background_work_is_done_once_and_told_by_the_pulse(filled: Path) -> None:
    with opened(filled) as queries:
        before = queries.pulse()
        made: list[int] = []
        assert queries.later(("w",), 1, lambda: made.append(1) or "done") is None
        for _ in range(200):
            if not queries.working:
                break
            time.sleep(0.02)
        assert queries.pulse() != before
        assert queries.later(("w",), 1, lambda: made.append(1) or "again") == "done"
        assert made == [1]


@pytest.mark.parametrize("ways", [["min", "max"], ["max", "min", "max"]])
def test_fronts_of_many_equal_the_plain_definition(ways: list) -> None:
    rng = np.random.default_rng(3)
    columns = [np.round(rng.normal(size=600), 1) for _ in ways]
    columns[0][::50] = np.nan
    among = rng.random(600) < 0.9
    signs = np.array([1 if way == "min" else -1 for way in ways])
    points = np.column_stack(columns) * signs
    ok = np.flatnonzero(among & np.isfinite(points).all(axis=1))
    plain = [i for i in ok if not any((points[j] <= points[i]).all() and (points[j] < points[i]).any() for j in ok)]
    assert sorted(front_of(columns, ways, among)) == plain


def test_the_front_of_a_hundred_thousand_is_that_of_its_parts() -> None:
    points = np.random.default_rng(0).random((100_000, 3))
    whole = front(points, ["min", "max", "min"])
    parts = [
        start + i
        for start in range(0, 100_000, 20_000)
        for i in front(points[start : start + 20_000], ["min", "max", "min"])
    ]
    assert whole == sorted(parts[i] for i in front(points[parts], ["min", "max", "min"]))


def test_the_hypervolume_grows_to_that_of_the_front() -> None:
    rng = np.random.default_rng(1)
    columns = [rng.random(3000), rng.random(3000)]
    numbers, volumes = growth(columns, ["min", "max"], np.ones(3000, dtype=bool), most=10**6)
    assert volumes[-1] == 1.0
    assert volumes == sorted(volumes)
    reference = [columns[0].max(), columns[1].min()]
    whole = hypervolume(np.column_stack(columns), ["min", "max"], reference)
    at = numbers[len(numbers) // 2]
    part = hypervolume(np.column_stack([c[: at + 1] for c in columns]), ["min", "max"], reference)
    assert volumes[len(numbers) // 2] == pytest.approx(part / whole)
    assert growth(columns, ["min", "max"], np.zeros(3000, dtype=bool)) == ([], [])


def test_a_thinned_picture_has_the_same_corners() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.lognormal(size=50_000), rng.random(50_000)
    at = thinned(np.arange(50_000), x, y, log_x=True, most=2000)
    assert 1000 < len(at) <= 2000
    assert len(np.unique(at)) == len(at)
    for values in (np.log(x), y):
        span = np.ptp(values)
        assert values[at].min() - values.min() < span / 25
        assert values.max() - values[at].max() < span / 25
    assert list(thinned(np.arange(50), x, y)) == list(range(50))


def test_an_older_store_is_shown_from_a_copy_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    connection = sqlite3.connect(path)
    connection.executescript(FIRST.read_text())
    connection.close()
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    with opened(path) as queries:
        assert [summary.name for summary in queries.studies()] == ["old"]
        assert "older version (0001) and was not touched" in queries.notice
        assert len(queries.frame("old")) == 4
        assert not queries.writable
        with pytest.raises(StoreError, match="read-only"):
            queries.annotate("old", 0, note="x")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before
    assert {each.name for each in tmp_path.iterdir()} <= {"old.db", "old.db-wal", "old.db-shm"}


def test_a_newer_or_missing_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError), opened(tmp_path / "none.db"):
        pass
    path = tmp_path / "new.db"
    Store.open(path).close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE nas_alembic_version SET version_num='9999'")
    connection.commit()
    connection.close()
    with (
        pytest.raises(StoreError, match=f"9999 is newer than this program, which speaks {known_versions()[-1]}"),
        opened(path),
    ):
        pass
