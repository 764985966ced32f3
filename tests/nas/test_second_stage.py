"""Two stages: the front's best-spread points trained by the full recipe, resumable, with both fronts reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.events import Event, Started, TrialFinished
from nas.executors import Inline
from nas.follow_up import FollowUp
from nas.objective import Objective
from nas.rank_correlation import spearman
from nas.search import resume_search, run_search
from nas.second_stage import read_second, spread_order
from nas.settings import SearchSettings
from space.errors import NasError
from trials.evaluator import Job, OnEpoch
from trials.evaluators.surrogate import Surrogate
from trials.measurement import Measured
from trials.rows import TrialRow
from trials.store import Store

AIMS = (Objective.parse("accuracy:max"), Objective.parse("macs:min"))


class Counting(Inline):
    """An executor that counts how often it was started."""

    starts = 0

    def __enter__(self) -> Counting:
        self.starts += 1
        return self


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "nas.db")


def settings(**changes: Any) -> SearchSettings:
    values: dict[str, Any] = {"study": "s", "space": "tiny", "budget": 12, "evaluators": (Surrogate(epochs=1),)}
    return SearchSettings.make(**(values | {"train_as": "proxy", "then": FollowUp.parse("full:4", 3)} | changes))


def rows_of(store: Store, study: str) -> list[TrialRow]:
    return store.trials(store.study(study).id)


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """The jobs that the surrogate was given; in the full recipe it finds the ranks turned round."""
    seen: list[Job] = []
    true = Surrogate.evaluate

    def turned(self: Surrogate, job: Job, on_epoch: OnEpoch) -> dict[str, Measured]:
        seen.append(job)
        found = true(self, job, on_epoch)
        if job.recipe.name == "full":
            accuracy = found["accuracy"]
            found["accuracy"] = Measured(1 - accuracy.value, "ratio", None, accuracy.circumstances)
        return found

    monkeypatch.setattr(Surrogate, "evaluate", turned)
    return seen


def test_the_best_spread_points_are_trained_in_full_on_the_same_workers(store: Store, jobs: list[Job]) -> None:
    events: list[Event] = []
    workers = Counting()
    result = run_search(store, settings(), executor=workers, on_event=events.append)
    assert workers.starts == 1
    assert [event.study for event in events if isinstance(event, Started)] == ["s", "s-full"]
    assert result.done == 12
    full = jobs[12:]
    assert len(full) == 4
    assert {(job.recipe.name, job.recipe.epochs) for job in full} == {("full", 3)}
    assert all(job.train_arch.id == job.arch.id for job in full)
    assert all(job.train_arch.id != job.arch.id for job in jobs[:12])
    second = result.second
    assert second is not None
    rows = {row.number: row for row in rows_of(store, "s")}
    trained = rows_of(store, "s-full")
    assert [row.origin for row in trained] == [f"s:{second.sources[row.number]}" for row in trained]
    assert [row.arch_id for row in trained] == [rows[second.sources[row.number]].arch_id for row in trained]
    assert [row.macs for row in trained] == [rows[second.sources[row.number]].macs for row in trained]
    front = {point.trial for point in result.front}
    chosen = set(second.sources.values())
    assert chosen <= front if len(front) >= 4 else front <= chosen
    pairs = [(rows[second.sources[row.number]].values["accuracy"], row.values["accuracy"]) for row in trained]
    assert list(second.pairs) == pairs
    assert second.correlation == spearman(*zip(*pairs, strict=True))
    assert second.correlation is not None
    assert second.correlation.value == -1.0
    assert {point.trial for point in second.front} <= {row.number for row in trained}
    assert rows_of(store, "s-full")[0].values["accuracy"] != rows[second.sources[0]].values["accuracy"]


def test_a_second_stage_cut_off_goes_on_as_it_would_have(store: Store, tmp_path: Path) -> None:
    whole = Store.open(tmp_path / "whole.db")
    run_search(whole, settings(), executor=Inline())

    def stop_at(number: int) -> Callable[[Event], None]:
        finished = 0

        def stop(event: Event) -> None:
            nonlocal finished
            finished += isinstance(event, TrialFinished)
            if finished == number and isinstance(event, TrialFinished):
                raise KeyboardInterrupt

        return stop

    cut = run_search(store, settings(), executor=Inline(), on_event=stop_at(5))
    assert cut.interrupted
    assert [each.name for each in store.studies()] == ["s"]
    cut = resume_search(store, "s", executor=Inline(), on_event=stop_at(9))
    assert cut.interrupted
    assert cut.second is not None
    assert (cut.second.trained, cut.second.count) == (2, 4)
    result = resume_search(store, "s", executor=Inline())
    assert not result.interrupted

    def gist(of: Store) -> list[tuple[Any, ...]]:
        return [(r.number, r.state, r.arch_id, r.origin, r.seed, r.values) for r in rows_of(of, "s-full")]

    assert gist(store) == gist(whole)
    done = len(rows_of(store, "s-full"))
    assert resume_search(store, "s", executor=Inline()).second == result.second
    assert len(rows_of(store, "s-full")) == done
    more = resume_search(store, "s", executor=Inline(), budget=30)
    assert more.second is not None
    assert more.second.count >= 4
    assert gist(store)[:4] == gist(whole)


def test_points_are_spread_by_the_volume_they_add() -> None:
    accuracy = [0.50, 0.52, 0.80, 0.81, 0.95]
    macs = [1e6, 1.1e6, 1e7, 1.05e7, 1e8]
    order = spread_order(np.column_stack([accuracy, macs]), AIMS)
    assert sorted(order) == [0, 1, 2, 3, 4]
    groups = [{0: "low", 1: "low", 2: "middle", 3: "middle", 4: "high"}[index] for index in order]
    assert set(groups[:3]) == {"low", "middle", "high"}
    assert spread_order(np.array([[0.5, 1e6]] * 3), AIMS) == [0, 1, 2]


@pytest.mark.parametrize(
    ("text", "epochs", "said"),
    [
        ("ful:3", None, "recipe 'ful', allowed: full; did you mean 'full'?"),
        ("full", None, "networks '', allowed: 1 to 1000, as in 'full:5'"),
        ("full:0", None, "networks '0'"),
        ("full:x", None, "networks 'x'"),
        ("full:2", 0, "0 epochs, allowed: 1 or more"),
    ],
)
def test_what_cannot_follow_is_refused(text: str, epochs: int | None, said: str) -> None:
    with pytest.raises(NasError) as caught:
        FollowUp.parse(text, epochs)
    assert said in str(caught.value)


def test_a_taken_name_is_refused_before_anything_is_trained(store: Store) -> None:
    run_search(store, settings(study="s-full", then=None, budget=1), executor=Inline())
    with pytest.raises(NasError, match="study 's-full' exists"):
        run_search(store, settings(), executor=Inline())
    assert [each.name for each in store.studies()] == ["s-full"]


def test_command_line_reports_both_fronts(nas: Callable[..., Any], refused: Callable[..., str], tmp_path: Path) -> None:
    place = ("--store", tmp_path / "nas.db")
    words = ("search", "--space", "tiny", "--budget", 3, "--inline", "--study", "s", "--train-as", "full", *place)
    assert "allowed only with --then" in refused(*words, "--then-epochs", 1)
    ran = nas(*words, "--then", "full:3", "--then-epochs", 1)
    assert ran.code == 0, ran.err
    assert "3 of 3 networks of the front trained with the full recipe, as study s-full" in ran.out
    assert "of trial" in ran.out
    assert "rank correlation of accuracy in both" in nas("front", "s", *place).out
    found = json.loads(nas("front", "s", "--json", *place).out)
    assert set(found) == {"front", "second"}
    second = found["second"]
    assert (second["study"], second["metric"], len(second["pairs"])) == ("s-full", "accuracy", 3)
    assert -1 <= second["spearman"]["value"] <= 1
    assert all(point["of_trial"] in range(8) for point in second["front"])
    report = tmp_path / "report.html"
    nas("report", "s", "--out", report, *place)
    assert "The front after full training" in report.read_text()
    with Store.open(tmp_path / "nas.db") as store:
        assert read_second(store, store.study("s-full")) is None
        full = store.trials(store.study("s-full").id, state="complete")[0]
        circumstances = store.measurements_of(full.id)[0].circumstances
        assert (circumstances["recipe"], circumstances["epochs"]) == ("full", 1)
