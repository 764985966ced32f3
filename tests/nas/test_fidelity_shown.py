"""What rungs look like: on small images and few, in lists and reports, and to the sampler."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nas.events import Event, RungReached
from nas.executors import Inline
from nas.fidelity import Fidelity
from nas.report import render
from nas.rung_counts import rungs_of
from nas.search import resume_search, run_search
from nas.settings import SearchSettings
from nas.study_data import StudyData
from nas.suggestions import Suggestions
from trials.evaluators.surrogate import Surrogate
from trials.evaluators.train import Train
from trials.rows import TrialRow
from trials.store import Store
from trials.training import PROXY_RECIPE

pytestmark = pytest.mark.usefixtures("toy_rules")
QUICK = PROXY_RECIPE.model_copy(update={"epochs": 5, "epoch_images": 64, "validation_images": 40})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "nas.db")


def settings(**changes: Any) -> SearchSettings:
    values: dict[str, Any] = {
        "study": "s",
        "space": "tiny",
        "budget": 14,
        "evaluators": (Surrogate(epochs=9),),
        "epochs": 9,
        "train_as": "full",
        "fidelity": "top_share",
        "sampler": "random",
    }
    return SearchSettings.make(**(values | changes))


def rows_of(store: Store, study: str = "s") -> list[TrialRow]:
    return store.trials(store.study(study).id)


def test_rungs_of_small_images_and_few_come_before_whole_ones(store: Store) -> None:
    rungs = ["epochs=0.2,resolution=0.5,images=0.5", "epochs=0.6,images=0.5"]
    asked = {"evaluators": (Train(),), "recipe": QUICK, "epochs": 5, "budget": 4, "resolution": 32}
    ladder = Fidelity.parse("top_share:2", rungs)
    run_search(store, settings(**asked, fidelity=ladder), executor=Inline())
    rows = rows_of(store)
    assert Counter(row.state for row in rows) == {"complete": 1, "stopped": 3}
    for row in rows:
        seen = {each.metric: each.circumstances for each in store.measurements_of(row.id)}["accuracy"]
        assert seen["epochs"] == row.epochs
        assert seen["resolution"] == (16 if row.epochs == 1 else 32)
        assert [rung["epoch"] for rung in row.rungs] == [1, 3][: len(row.rungs)]
    # another result than that of whole images all along, hence nothing that the other study could take
    run_search(store, settings(study="whole", **asked, fidelity="none"), executor=Inline())
    assert not any(row.reused for row in rows_of(store, "whole"))
    run_search(store, settings(study="again", **asked, fidelity=ladder), executor=Inline())
    assert sum(row.reused is not None for row in rows_of(store, "again")) == 1


def test_the_report_and_the_lists_tell_of_the_rungs(store: Store, nas: Callable[..., Any]) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, RungReached) and event.number == 8:
            raise KeyboardInterrupt

    run_search(store, settings(), executor=Inline(), on_event=stop)
    words = ["--store", store.url]
    listed = nas("trials", "s", *words).out
    assert "waiting at rung 1 of 3, epoch 1 of 9" in listed
    assert [row.values for row in rows_of(store) if row.waiting] == [{}] * sum(row.waiting for row in rows_of(store))
    readings = [row.rungs[-1]["values"]["accuracy"] for row in rows_of(store) if row.waiting]
    assert [row.readings["accuracy"] for row in rows_of(store) if row.waiting] == readings
    found = {each["trial"]: each for each in json.loads(nas("trials", "s", "--json", *words).out)}
    assert [rung["epoch"] for rung in found[0]["rungs"]][:1] == [1]
    assert "outcome" not in found[0]["rungs"][-1]
    assert json.loads(nas("studies", "--json", *words).out)[0]["waiting"] == sum(r.waiting for r in rows_of(store))
    ran = nas("resume", "s", "--inline", "--json", *words)
    assert json.loads(ran.out)["counts"]["stopped"] >= 9
    rows, stops = rows_of(store), settings().fidelity.stops(9)
    lowest, upper = rungs_of(rows, stops)
    assert (lowest.number, lowest.of, lowest.epoch, lowest.reached) == (1, 3, 1, 14)
    assert lowest.promoted == upper.reached == upper.promoted + upper.stopped
    assert lowest.stopped + upper.stopped == sum(row.state == "stopped" for row in rows)
    page = render(StudyData.read(store, "s"))
    assert f"<td>1 of 3</td><td>1</td><td>14</td><td>{lowest.promoted}</td>".replace("<td>", "") in page.replace(
        "<td>", ""
    )
    assert "stopped at a rung" in page


def told(suggestions: Suggestions) -> list[list[float] | None]:
    return [trial.values for trial in suggestions._study.get_trials()]


def test_the_sampler_hears_readings_raised_by_what_others_gained(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Suggestions] = []

    def make(*given: Any) -> Suggestions:
        made.append(Suggestions(*given))
        return made[-1]

    monkeypatch.setattr("nas.search.Suggestions", make)

    def stop(event: Event) -> None:
        if isinstance(event, RungReached) and event.number == 12:
            raise KeyboardInterrupt

    run_search(store, settings(objectives=("accuracy:max",)), executor=Inline(), on_event=stop)
    # the last one has come to its rung after the last proposal, before which the sampler is told
    rows = rows_of(store)[:-1]
    resume_search(store, "s", executor=Inline(), budget=15)
    live, rebuilt = (told(each) for each in made)
    assert [row.state for row in rows].count("complete") >= 1
    gains = []
    for row, values in zip(rows, live, strict=False):
        value = values[0] if values else 0.0
        if row.state == "complete":
            assert value == row.values["accuracy"]
        elif row.rungs:
            gains.append((len(row.rungs), round(value - row.rungs[-1]["values"]["accuracy"], 9)))
    assert len(set(gains)) == 2, "one gain from each of the two rungs"
    assert all(gain > 0 for _, gain in gains)
    assert max(gain for rung, gain in gains if rung == 2) < min(gain for rung, gain in gains if rung == 1)
    assert len(rebuilt) > len(live)
