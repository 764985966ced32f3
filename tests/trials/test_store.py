"""What the store promises, on every kind of database it may live in."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from trials.measurement import Measured
from trials.rows import FINAL, STATES, StoreError, StudyRow, TrialRow
from trials.store import Store


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with Store.open(store_url) as opened:
        yield opened


@pytest.fixture
def study(store: Store) -> StudyRow:
    return new_study(store, "first")


def new_study(store: Store, name: str) -> StudyRow:
    return store.create_study(
        name,
        space="stages: []\n",
        config={"budget": 7, "limits": ["params<=5M"]},
        code_version="0.1",
        data_fingerprint="ab",
    )


def add(store: Store, study: StudyRow, **given: Any) -> TrialRow:
    values: dict[str, Any] = {
        "state": "queued",
        "arch_id": "00000000000000aa",
        "arch_json": '{"stages": []}',
        "params": 10**10,
        "macs": 10**13,
        "choices": {"stages[0].width": 64, "stages[0].kind": "pool", "stages[0].scale": 0.25},
        "seed": 2**63 - 1,
        "sampler": "random",
    }
    return store.add_trial(study.id, **(values | given))


def finished(store: Store, study: StudyRow, value: float, **given: Any) -> TrialRow:
    trial = add(store, study, **given)
    store.start_trial(trial.id, worker="w0", attempt=1)
    store.finish_trial(trial.id, state="complete", measurements={"accuracy": Measured(value, "ratio")})
    return store.trial(study.id, trial.number)


# -- studies


def test_a_study_comes_back_as_it_was_given(store: Store, study: StudyRow) -> None:
    assert store.study("first") == study
    assert study.config == {"budget": 7, "limits": ["params<=5M"]}
    assert study.created.tzinfo is not None
    assert abs(study.created - datetime.now(UTC)) < timedelta(minutes=5)


def test_a_name_is_given_once(store: Store, study: StudyRow) -> None:
    with pytest.raises(StoreError, match=r"study 'first': exists in store .*resume it or choose another name"):
        new_study(store, "first")
    assert [s.name for s in store.studies()] == [study.name]


@pytest.mark.parametrize("name", ["", "a:b", "a/b", "../x", "-x", "a b", "x" * 101, "a\n"])
def test_names_that_cannot_be_typed_back_are_refused(store: Store, name: str) -> None:
    with pytest.raises(StoreError, match="study name"):
        new_study(store, name)


def test_an_unknown_study_is_refused_with_the_nearest(store: Store, study: StudyRow) -> None:
    with pytest.raises(StoreError, match=r"study 'frist': not in store .*did you mean 'first'"):
        store.study("frist")
    with pytest.raises(StoreError, match="known: 'first'"):
        store.summary("zzz")
    with pytest.raises(StoreError, match="did you mean 'first'"), store.lease("firs"):
        pass


def test_an_empty_store_says_so(store: Store) -> None:
    assert store.studies() == []
    with pytest.raises(StoreError, match="it has no studies yet"):
        store.study("any")


def test_config_is_replaced(store: Store, study: StudyRow) -> None:
    assert store.update_config("first", {"budget": 9}).config == {"budget": 9}
    assert store.study("first").config == {"budget": 9}


def test_a_summary_counts_every_state(store: Store, study: StudyRow) -> None:
    finished(store, study, 0.5)
    add(store, study, state="duplicate", duplicate_of=0)
    add(store, study, state="infeasible")
    add(store, study)
    new_study(store, "second")
    first, second = store.studies()
    assert first == store.summary("first")
    assert first.counts == dict.fromkeys(STATES, 0) | {"complete": 1, "duplicate": 1, "infeasible": 1, "queued": 1}
    assert first.trials == 4
    assert first.budget == 7
    assert first.started is not None
    assert first.finished is not None
    assert first.started <= datetime.now(UTC)
    assert (second.trials, second.started, second.driver) == (0, None, None)


# -- trials


def test_a_trial_comes_back_as_it_was_given(store: Store, study: StudyRow) -> None:
    given = {"origin": "convnext_tiny", "extra": {"nsga2:generation": 3}, "reason": None}
    trial = add(store, study, **given)
    assert store.trial(study.id, 0) == trial
    assert (trial.number, trial.state, trial.attempt, trial.epochs, trial.values) == (0, "queued", 0, 0, {})
    assert trial.seed == 2**63 - 1
    assert trial.params == 10**10
    assert trial.macs == 10**13
    assert list(trial.choices) == ["stages[0].width", "stages[0].kind", "stages[0].scale"]
    assert trial.extra == {"nsga2:generation": 3}


def test_numbers_have_no_gaps_in_each_study(store: Store, study: StudyRow) -> None:
    other = new_study(store, "second")
    for turn in range(3):
        assert add(store, study).number == turn
        assert add(store, other).number == turn
    with pytest.raises(StoreError, match="duplicate of trial 99"):
        add(store, study, state="duplicate", duplicate_of=99)
    assert add(store, study).number == 3
    assert [t.number for t in store.trials(study.id)] == [0, 1, 2, 3]


def test_a_refused_trial_leaves_no_architecture_behind(store: Store, study: StudyRow) -> None:
    with pytest.raises(StoreError):
        add(store, study, arch_id="f" * 16, state="duplicate", duplicate_of=99)
    with pytest.raises(StoreError, match=f"architecture '{'f' * 16}': not in store"):
        store.architecture("f" * 16)


def test_an_architecture_is_stored_once(store: Store, study: StudyRow) -> None:
    add(store, study, arch_json="first spelling", params=None, macs=None)
    again = add(store, study, arch_json="second spelling", params=5, macs=7)
    assert again.arch_json == "first spelling"
    add(store, study, params=99, macs=99)
    row = store.architecture("00000000000000aa")
    assert (row.json, row.params, row.macs) == ("first spelling", 5, 7)


@pytest.mark.parametrize("state", ["running", "complete", "stopped", "nonsense"])
def test_a_new_trial_is_queued_or_rejected(store: Store, study: StudyRow, state: Any) -> None:
    with pytest.raises(StoreError, match=f"new trial: state '{state}', allowed: queued, duplicate"):
        add(store, study, state=state)


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_must_fit(store: Store, study: StudyRow, seed: int) -> None:
    with pytest.raises(StoreError, match="seed"):
        add(store, study, seed=seed)
    assert store.trials(study.id) == []


def test_a_trial_of_no_study_is_refused(store: Store, study: StudyRow) -> None:
    with pytest.raises(StoreError, match=f"study id {study.id + 1}"):
        store.add_trial(
            study.id + 1,
            state="queued", arch_id="a", arch_json="{}", params=1, macs=1, choices={}, seed=0, sampler="random",
        )  # fmt: skip


def test_an_unknown_number_is_refused_with_those_there_are(store: Store, study: StudyRow) -> None:
    with pytest.raises(StoreError, match="study 'first': no trial 0, allowed: none yet"):
        store.trial(study.id, 0)
    add(store, study)
    add(store, study)
    with pytest.raises(StoreError, match="study 'first': no trial 2, allowed: 0 to 1"):
        store.trial(study.id, 2)


def test_the_life_of_a_trial(store: Store, study: StudyRow) -> None:
    trial = add(store, study)
    store.start_trial(trial.id, worker="w1", attempt=1)
    running = store.trial(study.id, 0)
    assert (running.state, running.worker, running.attempt) == ("running", "w1", 1)
    assert running.started is not None
    store.add_epoch(trial.id, attempt=1, epoch=1, metrics={"accuracy": 0.25, "loss": 2.0})
    assert store.trial(study.id, 0).epochs == 1
    measured = {"accuracy": Measured(0.5, "ratio", 0.01, {"device": "cpu", "threads": 1})}
    store.finish_trial(trial.id, state="complete", measurements=measured, evaluator="train", evaluator_version=2)
    done = store.trial(study.id, 0)
    assert (done.state, done.values, done.epochs) == ("complete", {"accuracy": 0.5}, 1)
    assert done.finished is not None
    assert trial.created <= running.started <= done.finished
    (row,) = store.measurements_of(trial.id)
    assert (row.metric, row.value, row.unit, row.spread, row.device) == ("accuracy", 0.5, "ratio", 0.01, "cpu")
    assert (row.evaluator, row.version, row.seed, row.arch_id) == ("train", 2, trial.seed, trial.arch_id)
    assert row.circumstances == {"device": "cpu", "threads": 1}
    assert store.measurements_on(trial.arch_id) == [row]


@pytest.mark.parametrize("state", FINAL)
def test_a_finished_trial_stays_finished(store: Store, study: StudyRow, state: Any) -> None:
    trial = add(store, study)
    store.start_trial(trial.id, worker="w", attempt=1)
    store.finish_trial(trial.id, state=state, reason="because")
    before = store.trial(study.id, 0)
    with pytest.raises(StoreError, match=f"trial first:0: {state}, a finished trial cannot be started again"):
        store.start_trial(trial.id, worker="w", attempt=2)
    with pytest.raises(StoreError, match=f"trial first:0: epoch 1 of attempt 1, but it is {state}"):
        store.add_epoch(trial.id, attempt=1, epoch=1, metrics={"loss": 1.0})
    other = "failed" if state != "failed" else "complete"
    with pytest.raises(StoreError, match=f"trial first:0: already {state}, cannot become {other}"):
        store.finish_trial(trial.id, state=other)
    assert store.requeue(study.id) == 0
    assert store.trial(study.id, 0) == before
    assert before.reason == "because"


def test_finishing_twice_alike_is_finishing_once(store: Store, study: StudyRow) -> None:
    trial = add(store, study)
    store.start_trial(trial.id, worker="w", attempt=1)
    measured = {"accuracy": Measured(0.5, "ratio"), "loss": Measured(1.5, "nats")}
    store.finish_trial(trial.id, state="complete", measurements=measured, evaluator="train")
    once = store.trial(study.id, 0), store.measurements_of(trial.id)
    store.finish_trial(trial.id, state="complete", measurements=measured, evaluator="train")
    assert (store.trial(study.id, 0), store.measurements_of(trial.id)) == once


def test_a_trial_is_not_finished_without_its_measurements(store: Store, study: StudyRow) -> None:
    trial = add(store, study)
    store.start_trial(trial.id, worker="w", attempt=1)
    measured = {"accuracy": Measured(0.5, "ratio"), "loss": Measured(math.nan, "nats")}
    with pytest.raises(StoreError, match="measurement 'loss': value nan, allowed: finite numbers"):
        store.finish_trial(trial.id, state="complete", measurements=measured)
    assert store.trial(study.id, 0).state == "running"
    assert store.measurements_of(trial.id) == []


def test_an_unknown_trial_cannot_be_written(store: Store) -> None:
    for write in (
        lambda: store.start_trial(5, worker="w", attempt=1),
        lambda: store.add_epoch(5, attempt=1, epoch=1, metrics={"loss": 1.0}),
        lambda: store.finish_trial(5, state="failed"),
    ):
        with pytest.raises(StoreError, match="trial id 5: not in the store"):
            write()


def test_attempts_only_rise(store: Store, study: StudyRow) -> None:
    trial = add(store, study)
    with pytest.raises(StoreError, match="attempt 0, allowed: 1 or more"):
        store.start_trial(trial.id, worker="w", attempt=0)
    store.start_trial(trial.id, worker="w1", attempt=1)
    with pytest.raises(StoreError, match="attempt 1, allowed: 2 or more, as it is running"):
        store.start_trial(trial.id, worker="w2", attempt=1)
    store.start_trial(trial.id, worker="w2", attempt=2)
    with pytest.raises(StoreError, match="epoch 1 of attempt 1, but it is running at attempt 2"):
        store.add_epoch(trial.id, attempt=1, epoch=1, metrics={"loss": 1.0})
    assert store.requeue(study.id) == 1
    store.start_trial(trial.id, worker="w3", attempt=2)
    assert store.trial(study.id, 0).attempt == 2


def test_requeue_takes_only_what_runs_in_one_study(store: Store, study: StudyRow) -> None:
    other = new_study(store, "second")
    for owner in (study, study, other):
        store.start_trial(add(store, owner).id, worker="w", attempt=1)
    add(store, study)
    finished(store, study, 0.5)
    assert store.requeue(study.id) == 2
    assert [(t.state, t.worker) for t in store.trials(study.id)][:2] == [("queued", None)] * 2
    assert store.trial(study.id, 3).state == "complete"
    assert store.trial(other.id, 0).state == "running"
    assert store.requeue(study.id) == 0


# -- listing


def test_listing_keeps_state_limit_and_offset(store: Store, study: StudyRow) -> None:
    for number in range(6):
        add(store, study) if number % 2 else finished(store, study, number / 10)
    numbers = [t.number for t in store.trials(study.id, state="complete")]
    assert numbers == [0, 2, 4]
    assert [t.number for t in store.trials(study.id, state=["queued", "complete"])] == list(range(6))
    assert [t.number for t in store.trials(study.id, limit=2)] == [0, 1]
    assert [t.number for t in store.trials(study.id, offset=4)] == [4, 5]
    last = store.trials(study.id, state="complete", limit=1, offset=2)
    assert [(t.number, t.values) for t in last] == [(4, {"accuracy": 0.4})]
    assert store.trials(study.id, limit=0) == []
    with pytest.raises(StoreError, match=r"state: 'compleet', allowed: .*did you mean 'complete'"):
        store.trials(study.id, state="compleet")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("size", [1, 30])
def test_listing_asks_as_often_for_many_as_for_one(store: Store, study: StudyRow, size: int) -> None:
    for number in range(size):
        finished(store, study, number / 100)
    asked: list[str] = []
    engine = store._database.engine  # pyright: ignore[reportPrivateUsage]
    event.listen(engine, "before_cursor_execute", lambda *sent: asked.append(sent[2]))
    assert len(store.trials(study.id)) == size
    assert len([text for text in asked if text.startswith("SELECT")]) == 2


def test_the_first_measurement_of_a_metric_stands(store: Store, study: StudyRow) -> None:
    trial = finished(store, study, 0.5)
    later = {"accuracy": Measured(0.9, "ratio", circumstances={"split": "test"})}
    store.add_measurements(trial.arch_id, later, trial_id=trial.id, evaluator="full", seed=1)
    assert store.trial(study.id, 0).values == {"accuracy": 0.5}
    assert [m.value for m in store.measurements_of(trial.id)] == [0.5, 0.9]


# -- any text, any JSON


@given(
    text=st.text(alphabet=st.characters(exclude_categories=[]), max_size=40),
    choices=st.dictionaries(st.text(max_size=10), st.integers() | st.floats(allow_nan=False, allow_infinity=False)),
)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_reason_and_any_choices_can_be_stored(store: Store, text: str, choices: dict[str, Any]) -> None:
    study = store.study("any") if any(s.name == "any" for s in store.studies()) else new_study(store, "any")
    trial = add(store, study, state="failed", reason=text, choices=choices)
    back = store.trial(study.id, trial.number)
    assert back.choices == choices
    assert back == trial
    if "\0" not in text and text.isprintable():
        assert back.reason == text
