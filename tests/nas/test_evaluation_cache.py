"""The evaluation cache: what one study has trained serves every study that asks for the same, and no other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nas.events import Event, TrialFinished
from nas.executors import Inline
from nas.search import Result, resume_search, run_search
from nas.settings import SearchSettings
from trials.evaluator import Evaluator, Job, OnEpoch
from trials.evaluators.surrogate import Surrogate
from trials.evaluators.train import Train
from trials.measurement import Measured
from trials.rows import OPEN, TrialRow
from trials.store import Store
from trials.training.recipe import PROXY_RECIPE

RECIPE = PROXY_RECIPE.model_copy(update={"epochs": 1, "epoch_images": 64, "validation_images": 32})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "nas.db")


def settings(study: str, **changes: Any) -> SearchSettings:
    values: dict[str, Any] = {"space": "tiny", "budget": 4, "evaluators": (Surrogate(epochs=2),), "train_as": "full"}
    return SearchSettings.make(study=study, **(values | changes))


def rows_of(store: Store, study: str) -> list[TrialRow]:
    return store.trials(store.study(study).id)


def complete(store: Store, study: str) -> list[TrialRow]:
    return store.trials(store.study(study).id, state="complete")


def search(store: Store, study: str, **changes: Any) -> Result:
    return run_search(store, settings(study, **changes), executor=Inline())


@pytest.fixture
def evaluations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The architectures that the surrogate has evaluated, in order."""
    seen: list[str] = []
    true = Surrogate.evaluate

    def counted(self: Surrogate, job: Job, on_epoch: OnEpoch) -> dict[str, Measured]:
        seen.append(job.arch.id)
        return true(self, job, on_epoch)

    monkeypatch.setattr(Surrogate, "evaluate", counted)
    return seen


def test_same_search_again_trains_nothing_and_comes_to_the_same(store: Store, evaluations: list[str]) -> None:
    search(store, "a")
    before = len(evaluations)
    events: list[Event] = []
    result = run_search(store, settings("b"), executor=Inline(), on_event=events.append)
    assert len(evaluations) == before == 4
    assert result.reused == 4 == result.done
    first, second = complete(store, "a"), complete(store, "b")
    assert [(r.arch_id, r.values, r.epochs) for r in first] == [(r.arch_id, r.values, r.epochs) for r in second]
    assert [row.reused for row in second] == [f"a:{row.number}" for row in first]
    assert all(row.started == row.finished for row in second)
    finished = [event for event in events if isinstance(event, TrialFinished)]
    assert [(event.reused, event.seconds) for event in finished] == [(f"a:{row.number}", 0.0) for row in first]
    for old, new in zip(first, second, strict=True):
        curves = [[(e.epoch, e.metrics) for e in store.epochs_of(row.id)] for row in (old, new)]
        assert curves[0] == curves[1]
        assert len(curves[1]) == 2
        taken = [[(m.metric, m.value, m.evaluator, m.version, m.circumstances) for m in store.measurements_of(row.id)]
                 for row in (old, new)]  # fmt: skip
        assert taken[0] == taken[1] != []


def test_a_reused_result_names_the_trial_that_was_trained(store: Store) -> None:
    for name in ("a", "b", "c"):
        search(store, name, budget=1)
    assert [row.reused for row in complete(store, "c")] == ["a:0"]


@pytest.mark.parametrize(
    "change",
    [
        {"repeat": True},
        {"seed": 1},
        {"data_seed": 1},
        {"evaluators": (Surrogate(epochs=3),)},
        {"recipe": RECIPE},
        {"resolution": 16},
        {"train_as": "proxy"},
    ],
    ids=str,
)
def test_another_training_is_trained(store: Store, evaluations: list[str], change: dict[str, Any]) -> None:
    first = settings("a", budget=1)
    run_search(store, first, executor=Inline())
    point = f"a:{complete(store, 'a')[0].number}"
    search(store, "b", budget=1, start_from=(point,), **change)
    assert len(evaluations) == 2
    assert [row.reused for row in complete(store, "b")] == [None]


def test_changed_evaluator_version_does_not_match(
    store: Store, evaluations: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    search(store, "a", budget=1)
    monkeypatch.setattr(Surrogate, "version", 2)
    search(store, "b", budget=1)
    assert len(evaluations) == 2
    assert complete(store, "b")[0].reused is None
    search(store, "c", budget=1)
    assert complete(store, "c")[0].reused == "b:0"


def test_real_training_is_reused_at_other_cost_resolution(store: Store) -> None:
    changes: dict[str, Any] = {"budget": 1, "evaluators": (Train(),), "recipe": RECIPE}
    search(store, "a", **changes)
    search(store, "b", **changes, start_from=("a:0",), cost_resolution=64)
    (old,), (new,) = complete(store, "a"), complete(store, "b")
    assert new.reused == "a:0"
    assert new.values == old.values
    assert new.macs != old.macs


def test_a_part_of_the_result_is_reused_and_the_rest_measured(store: Store, evaluations: list[str]) -> None:
    from trials.evaluators.latency import Latency

    search(store, "a", budget=1)
    timed: tuple[Evaluator, ...] = (Surrogate(epochs=2), Latency(repeats=3))
    search(store, "b", budget=1, evaluators=timed, objectives=("accuracy:max", "latency_ms:min"))
    (row,) = complete(store, "b")
    assert len(evaluations) == 1
    assert row.reused == "a:0"
    assert row.values["latency_ms"] > 0
    assert row.worker == "inline"


def test_resumed_study_reuses_what_others_trained_meanwhile(store: Store, evaluations: list[str]) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, TrialFinished):
            raise KeyboardInterrupt

    run_search(store, settings("a"), executor=Inline(), on_event=stop)
    search(store, "b")
    resume_search(store, "a", executor=Inline())
    assert len(evaluations) == 4
    assert [row.reused for row in complete(store, "a")[1:]] == [f"b:{row.number}" for row in complete(store, "b")[1:]]


def test_command_line_shows_the_source_and_repeats_on_demand(
    nas: Callable[..., Any], store: Store, tmp_path: Path
) -> None:
    search(store, "a", budget=2, evaluators=(Train(),), recipe=None, epochs=1)
    search(store, "b", budget=2, evaluators=(Train(),), recipe=None, epochs=1)
    shown = nas("trials", "b", "--store", store.url)
    assert "result of a:" in shown.out
    listed = json.loads(nas("trials", "b", "--state", "complete", "--json", "--store", store.url).out)
    assert [each["reused"] for each in listed] == [f"a:{row.number}" for row in complete(store, "a")]
    report = tmp_path / "report.html"
    assert nas("report", "b", "--out", report, "--store", store.url).code == 0
    assert "2 results of study a" in report.read_text()


# -- several processes

DRIVER = """
import sys
from nas.executors import Inline
from nas.search import run_search
from nas.settings import SearchSettings
from trials.evaluators.surrogate import Surrogate
from trials.store import Store

say("ready ")
made = SearchSettings.make(study=args[1], space="tiny", budget=3, train_as="full",
                           evaluators=(Surrogate(epochs=3, sleep_ms=float(args[2])),))
run_search(Store.open(args[0]), made, executor=Inline())
"""


def test_of_two_processes_with_the_same_points_one_trains(fork_fresh: Any, store_url: str) -> None:
    with Store.open(store_url) as store:
        children = [fork_fresh(DRIVER, store_url, name, "60") for name in ("a", "b")]
        for child in children:
            assert child.ended() == 0, child.errors()
        rows = {name: complete(store, name) for name in ("a", "b")}
        assert [row.arch_id for row in rows["a"]] == [row.arch_id for row in rows["b"]]
        for one, other in zip(rows["a"], rows["b"], strict=True):
            assert (one.reused is None) != (other.reused is None)
            assert one.values == other.values


def _running(store: Store, study: str, like: TrialRow) -> TrialRow:
    row = store.add_trial(
        store.study(study).id, state="queued", arch_id=like.arch_id, arch_json=like.arch_json, params=1, macs=1,
        choices=like.choices, seed=like.seed, sampler="random",
    )  # fmt: skip
    store.start_trial(row.id, worker="elsewhere", attempt=1)
    return row


def test_a_driver_that_dies_is_no_rival_any_more(store: Store) -> None:
    search(store, "a", budget=1)
    (like,) = complete(store, "a")
    config = store.study("a").config
    fingerprint = store.study("a").data_fingerprint
    for name in ("dead", "mine"):
        store.create_study(name, space="x", config=config | {"repeat": False, "study": name}, code_version="1",
                           data_fingerprint=fingerprint)  # fmt: skip
    mine = store.add_trial(
        store.study("mine").id, state="queued", arch_id=like.arch_id, arch_json=like.arch_json, params=1, macs=1,
        choices=like.choices, seed=like.seed, sampler="random",
    )  # fmt: skip
    _running(store, "dead", like)
    assert [rival.name for rival in store.rivals(mine)] == ["a:0"]
    with Store.open(store.url) as other, other.lease("dead"):
        assert [rival.name for rival in store.rivals(mine)] == ["a:0", "dead:0"]
        seen = store.rivals(mine)
        assert not store.start_unless_rivalled(mine, worker="w", attempt=1, seen=seen[:1])
        assert store.trial(mine.study_id, 0).state in OPEN
    assert store.start_unless_rivalled(mine, worker="w", attempt=1, seen=seen[:1])
