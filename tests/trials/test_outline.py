"""Whole studies in few fields, and what people write beside trials; the same on every database."""

from __future__ import annotations

import pytest

from trials.measurement import Measured
from trials.rows import Annotation, Outline, StoreError
from trials.store import Store


def fill(store: Store) -> int:
    study = store.create_study("s", space="", config={"budget": 3}, code_version="", data_fingerprint="")
    for number in range(3):
        row = store.add_trial(
            study.id,
            state="queued",
            arch_id=f"a{number}",
            arch_json="{}",
            params=10 + number,
            macs=None,
            choices={"width": number},
            seed=1,
            sampler="tpe",
            extra={"activations": 7} if number else {},
        )
        if number < 2:
            store.start_trial(row.id, worker=f"w{number}", attempt=1)
            store.add_epoch(row.id, attempt=1, epoch=1, metrics={"accuracy": 0.5})
    store.finish_trial(1, state="complete", measurements={"accuracy": Measured(0.75, "ratio")}, evaluator="train")
    return study.id


def test_outlines_values_and_choices(store_url: str) -> None:
    with Store.open(store_url) as store:
        study = fill(store)
        found = store.outlines(study)
        assert found[0] == Outline(1, 0, "complete", 10, None, None, 1, None)
        assert [(o.state, o.activations, o.epochs) for o in found[1:]] == [("running", 7, 1), ("queued", 7, 0)]
        assert [o.number for o in store.outlines(study, after=1)] == [2]
        assert [o.number for o in store.outlines(study, after=1, again=[1])] == [0, 2]
        ((measurement, trial, metric, value),) = store.values(study)
        assert (trial, metric, value) == (1, "accuracy", 0.75)
        assert store.values(study, after=measurement) == []
        assert store.choices(study, [0, 2]) == {0: {"width": 0}, 2: {"width": 2}}
        assert [row.number for row in store.numbered(study, [2, 0])] == [0, 2]
        assert store.numbered(study, []) == []
        assert store.trials_of("a1") == [("s", 1)]


def test_workers_are_summed_up(store_url: str) -> None:
    with Store.open(store_url) as store:
        study = fill(store)
        by_name = {worker.worker: worker for worker in store.workers(study)}
        assert {name: worker.counts for name, worker in by_name.items()} == {
            "w0": {"complete": 1},
            "w1": {"running": 1},
        }
        done = by_name["w0"]
        assert done.first is not None
        assert done.last is not None
        assert done.first <= done.last


def test_a_note_replaces_the_one_before(store_url: str) -> None:
    with Store.open(store_url) as store:
        study = fill(store)
        store.annotate(2, Annotation("first", ("a",), hidden=True))
        store.annotate(2, Annotation("second\0", ("b", "c")))
        assert store.annotations(study) == {1: Annotation("second\\0", ("b", "c"))}
        with pytest.raises(StoreError, match="trial id 99: not in the store"):
            store.annotate(99, Annotation())
    with Store.open(store_url, read_only=True) as store, pytest.raises(StoreError, match="opened read-only"):
        store.annotate(1, Annotation())


def test_the_pulse_tells_of_every_change(store_url: str) -> None:
    with Store.open(store_url) as store:
        fill(store)
        seen = [store.pulse()]
        assert store.pulse() == seen[0]
        store.annotate(1, Annotation("x"))
        seen.append(store.pulse())
        store.add_epoch(2, attempt=1, epoch=2, metrics={"accuracy": 0.6})
        seen.append(store.pulse())
        store.update_config("s", {"budget": 9})
        seen.append(store.pulse())
        with store.lease("s"):
            seen.append(store.pulse())
        assert len(set(map(str, seen))) == len(seen)
