"""Zero-cost proxies in a search: as a warm start, as objectives, and as what a predictor looks at."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.events import Event, Finished, Notice
from nas.executors import Inline
from nas.known_costs import KnownCosts
from nas.point_costs import point_costs
from nas.preparation import prepare
from nas.scored_costs import AFFORDED, positive, scored_costs
from nas.search import resume_search, run_search
from nas.settings import SearchSettings
from nas.warm_points import WarmStart
from nas.warm_start import choose, how_many
from space import DesignSpace, NasError
from trials.evaluators.surrogate import Surrogate
from trials.proxies.naswot import Naswot
from trials.store import Store
from trials.zero_cost import ProxyError

TWIN = {"width": 0.25, "depth": 0.5, "resolution": 8}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "nas.db")


def settings(**changes: Any) -> SearchSettings:
    values: dict[str, Any] = {
        "study": "s",
        "space": "tiny",
        "budget": 6,
        "evaluators": (Surrogate(epochs=1),),
        "proxy": TWIN,
        "train_as": "proxy",
        "sampler": "random",
    }
    return SearchSettings.make(**(values | changes))


def searched(store: Store, given: SearchSettings) -> list[Event]:
    told: list[Event] = []
    run_search(store, given, executor=Inline(), on_event=told.append)
    return told


def test_the_best_scored_points_are_trained_first(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    scores: dict[str, float] = {}

    def score(self: Naswot, probe: Any) -> tuple[float]:
        scores[probe.arch.id] = random.Random(probe.arch.id).random()
        return (scores[probe.arch.id],)

    monkeypatch.setattr(Naswot, "score", score)
    told = searched(store, settings(warm_start="proxy:naswot:12", objectives=("accuracy",)))
    rows = store.trials(store.study("s").id)
    assert [(row.origin, row.sampler) for row in rows[:3]] == [("proxy:naswot", "start")] * 3
    assert all(row.origin is None for row in rows[3:])
    kept = SearchSettings.make(**store.study("s").config)
    assert kept.warm_points is not None
    assert kept.warm_points.scored == len(scores) == 12
    best = sorted(scores.values(), reverse=True)[:3]
    assert [each["naswot"] for each in kept.warm_points.scores] == best
    notices = [event.text for event in told if isinstance(event, Notice)]
    assert notices[0] == "warm start: scoring 12 random points by naswot"
    assert "12 points scored" in notices[1]


def test_a_resumed_search_scores_nothing_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Store.open(store.root / "whole.db")
    given = settings(warm_start="proxy:params:10", budget=4)
    searched(whole, given)

    class Stopped(Exception):
        """Ends the search after the first trial."""

    def stop(event: Event) -> None:
        if type(event).__name__ == "TrialFinished":
            raise Stopped

    with pytest.raises(Stopped):
        run_search(store, given, executor=Inline(), on_event=stop)
    monkeypatch.setattr("nas.search.warmed", None)
    resume_search(store, "s", executor=Inline())
    first, second = ([(r.arch_id, r.origin) for r in each.trials(each.study("s").id)] for each in (whole, store))
    assert first == second
    assert [origin for _, origin in first] == ["proxy:params", "proxy:params", None, None]


def test_a_search_interrupted_while_it_scores_scores_anew_and_goes_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def score(self: Naswot, probe: Any) -> tuple[float]:
        calls.append(probe.arch.id)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return (1.0,)

    monkeypatch.setattr(Naswot, "score", score)
    with pytest.raises(KeyboardInterrupt):
        searched(store, settings(warm_start="proxy:naswot:6", budget=2))
    assert store.trials(store.study("s").id) == []
    result = resume_search(store, "s", executor=Inline())
    assert (result.done, len(calls), calls[3:6]) == (2, 9, calls[:3])
    assert store.trials(store.study("s").id)[0].origin == "proxy:naswot"


def test_one_start_of_the_workers_serves_both_parts(store: Store) -> None:
    class Counted(Inline):
        """Counts its starts and ends."""

        entered = left = 0

        def __enter__(self) -> Any:
            self.entered += 1
            return super().__enter__()

        def __exit__(self, *given: object) -> None:
            self.left += 1
            super().__exit__(*given)

    pool = Counted()
    run_search(store, settings(warm_start="proxy:macs:4", budget=2), executor=pool)
    assert (pool.entered, pool.left) == (1, 1)


def test_points_without_a_score_are_counted_and_the_search_goes_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def score(self: Naswot, probe: Any) -> tuple[float]:
        if probe.arch.id[0] in "01234567":
            raise ProxyError("naswot: no")
        return (math.inf,) if probe.arch.id[0] in "89ab" else (1.0,)

    monkeypatch.setattr(Naswot, "score", score)
    told = searched(store, settings(warm_start="proxy:naswot:20", budget=2))
    kept = SearchSettings.make(**store.study("s").config).warm_points
    assert kept is not None
    assert kept.scored + sum(kept.failures.values()) == 20
    assert kept.failures.keys() == {
        "naswot: no", "naswot: naswot is inf, outputs or gradients are not finite",
    }  # fmt: skip
    assert "have no score" in next(e.text for e in told if isinstance(e, Notice) and "scored in" in e.text)
    assert next(event.done for event in told if isinstance(event, Finished)) == 2
    monkeypatch.setattr(Naswot, "score", lambda *_: (math.nan,))
    searched(store, settings(study="none", warm_start="proxy:naswot:5", budget=2))
    assert all(row.origin is None for row in store.trials(store.study("none").id))


def test_fronts_are_taken_one_after_the_other_spread_along_the_merit() -> None:
    merit = np.array([5.0, 4.0, 3.0, 2.0, 1.0, 4.5])
    assert choose(merit, np.zeros((6, 0)), 3) == [0, 5, 1]
    costs = np.array([[9.0], [8.0], [7.0], [6.0], [5.0], [10.0]])
    assert choose(merit, costs, 3) == [0, 2, 4]
    assert choose(merit, costs, 6) == [0, 1, 2, 3, 4, 5]
    assert choose(merit[:2], costs[:2], 5) == [0, 1]


@pytest.mark.parametrize(("sampler", "budget", "count"), [("random", 6, 3), ("tpe", 200, 20), ("random", 200, 10)])
def test_a_warm_start_stands_in_for_the_random_trials(sampler: str, budget: int, count: int) -> None:
    assert how_many(settings(sampler=sampler, budget=budget)) == count


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("naswot", "expected proxy:NAME or proxy:NAME:POINTS"),
        ("proxy:naswot:many", "expected proxy:NAME"),
        ("proxy:naswot:1", "1 points, allowed: 2 to 100000"),
    ],
)
def test_other_warm_starts_are_refused(text: str, said: str) -> None:
    with pytest.raises(NasError, match=f"warm start '{text}': {said}"):
        WarmStart.parse(text)


def test_the_words_of_a_warm_start_are_read_and_written() -> None:
    assert WarmStart.parse("proxy:zico") == WarmStart(proxy="zico", points=1000)
    assert str(WarmStart.parse("proxy:zico:50")) == "proxy:zico:50"
    given = settings(warm_start="proxy:zico:50")
    assert SearchSettings.make(**json.loads(given.model_dump_json())) == given


@pytest.mark.parametrize("changes", [{"warm_start": "proxy:naswat"}, {"features": ("naswat",)}])
def test_unknown_proxies_are_refused_before_anything_is_stored(store: Store, changes: dict[str, Any]) -> None:
    with pytest.raises(NasError, match=r"proxy: 'naswat' is unknown, .* did you mean 'naswot'"):
        run_search(store, settings(**changes), executor=Inline())
    assert store.studies() == []


def test_a_search_for_scores_alone_trains_nothing(store: Store) -> None:
    searched(store, settings(objectives=("naswot", "az_nas_trainability:max", "macs"), evaluators=(), budget=2))
    kept = SearchSettings.make(**store.study("s").config)
    assert [each.kind for each in kept.evaluators] == ["az_nas", "naswot"]
    for row in store.trials(store.study("s").id):
        assert row.state == "complete"
        assert set(row.values) == {"naswot", "az_nas_expressivity", "az_nas_progressivity", "az_nas_trainability"}


def test_scores_stand_beside_the_accuracy(store: Store) -> None:
    prepared = prepare(settings(objectives=("accuracy", "naswot"), evaluators=()), DesignSpace.load("tiny"))
    assert [each.kind for each in prepared.settings.evaluators] == ["train", "naswot"]


def test_a_predictor_sees_the_scores_behind_the_counted_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = prepare(settings(features=("naswot", "macs")), DesignSpace.load("tiny"))
    plain = point_costs(prepared.admission, prepared.settings.objectives)
    scored: KnownCosts = scored_costs(plain, prepared)
    assert (scored.count, scored.limit) == (plain.count + 2, AFFORDED)
    choices = prepared.space.encode(prepared.space.draw(random.Random(0), lambda _: 0.0))
    counted, seen = plain.of(choices), scored.of(choices)
    assert counted is not None
    assert seen is not None
    assert seen[:3] == counted
    assert seen[4] == pytest.approx(2 * counted[1])  # s + sqrt(s^2 + 1) of the MACs
    assert seen[3] > 0
    assert positive(-3.0) * positive(3.0) == pytest.approx(1.0)
    monkeypatch.setattr(Naswot, "score", lambda *_: (math.nan,))
    failed = scored_costs(plain, prepared).of(choices)
    assert failed is not None
    assert math.isnan(failed[3])
    assert failed[4] == seen[4]


def test_the_predictor_guided_sampler_searches_with_features(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Naswot, "score", lambda self, probe: (math.nan if probe.arch.id[0] < "4" else 400.0,))
    told = searched(store, settings(features=("naswot",), sampler="predictor_guided", budget=14))
    finished = next(event for event in told if isinstance(event, Finished))
    assert finished.counts["complete"] == 14
    notices = [event.text for event in told if isinstance(event, Notice) and event.text.startswith("feature")]
    assert len(notices) == 1
    assert notices[0].startswith("feature naswot: no score: naswot: naswot is nan")
