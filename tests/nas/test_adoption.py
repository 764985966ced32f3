"""A study that starts from the store: what others have trained is known from the beginning and costs no budget."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nas.events import Event, Notice, Suggested
from nas.executors import Inline
from nas.search import Result, resume_search, run_search
from nas.settings import SearchSettings
from trials.evaluators.latency import Latency
from trials.evaluators.surrogate import Surrogate
from trials.rows import TrialRow
from trials.store import Store


def settings(study: str, **changes: Any) -> SearchSettings:
    values: dict[str, Any] = {"space": "tiny", "budget": 6, "evaluators": (Surrogate(epochs=1),), "train_as": "full"}
    return SearchSettings.make(study=study, **(values | changes))


def search(store: Store, study: str, **changes: Any) -> tuple[Result, list[str]]:
    events: list[Event] = []
    result = run_search(store, settings(study, **changes), executor=Inline(), on_event=events.append)
    return result, [event.text for event in events if isinstance(event, Notice) and "from-store" in event.text]


def rows_of(store: Store, study: str) -> list[TrialRow]:
    return store.trials(store.study(study).id)


def gist(rows: list[TrialRow]) -> list[tuple[Any, ...]]:
    return [(r.number, r.state, r.arch_id, r.sampler, r.seed, r.choices, r.values, r.epochs, r.reused) for r in rows]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open(tmp_path / "nas.db")
    search(store, "a")
    search(store, "b", seed=1)
    return store


def test_all_compatible_trials_are_known_and_cost_no_budget(store: Store, nas: Callable[..., Any]) -> None:
    known = {r.arch_id: r for name in ("b", "a") for r in rows_of(store, name) if r.state == "complete"}
    result, (notice,) = search(store, "c", seed=2, start_from_store=True, budget=3, sampler="tpe")
    assert notice == f"start-from-store: {len(known)} trials of 2 studies are known from the beginning"
    rows = rows_of(store, "c")
    adopted, own = rows[: len(known)], rows[len(known) :]
    assert all(row.adopted for row in adopted)
    assert not any(row.adopted for row in own)
    assert {r.arch_id: (r.values, r.choices, r.seed) for r in adopted} == {
        i: (r.values, r.choices, r.seed) for i, r in known.items()
    }
    assert sum(row.state == "complete" for row in own) == 3 == result.done
    assert not {row.arch_id for row in own if row.state == "complete"} & set(known)
    (summary,) = [each for each in store.studies() if each.name == "c"]
    assert (summary.trained, summary.adopted) == (3, len(known))
    (listed,) = [e for e in json.loads(nas("studies", "--json", "--store", store.url).out) if e["study"] == "c"]
    assert (listed["trained"], listed["adopted"], listed["status"]) == (3, len(known), "done")
    best = max(row.values["accuracy"] for row in rows if row.state == "complete")
    assert max(point.values["accuracy"] for point in result.front) == best
    assert len(store.epochs_of(adopted[0].id)) == 1


def test_sampler_is_asked_at_once_and_resumes_exactly(store: Store) -> None:
    proposers: list[str] = []

    def stop(event: Event) -> None:
        if isinstance(event, Suggested):
            proposers.append(event.sampler)
            if len(proposers) == 2:
                raise KeyboardInterrupt

    changes: dict[str, Any] = {"seed": 3, "start_from_store": True, "budget": 4, "sampler": "regularized_evolution"}
    alone = Store.open(store.url.replace("nas.db", "other.db"))
    search(alone, "a")
    search(alone, "b", seed=1)
    search(alone, "c", **changes)
    run_search(store, settings("c", **changes), executor=Inline(), on_event=stop)
    resume_search(store, "c", executor=Inline())
    assert gist(rows_of(store, "c")) == gist(rows_of(alone, "c"))
    assert sum(row.adopted for row in rows_of(store, "c")) > 6


def test_trials_of_another_recipe_space_or_limit_stay_out(store: Store, tmp_path: Path) -> None:
    _, notices = search(store, "c", start_from_store=True, evaluators=(Surrogate(epochs=2),), budget=1)
    assert notices == ["start-from-store: no other study has a trial of this space, data and recipe"]
    bound = sorted(r.params or 0 for r in rows_of(store, "a") if r.state == "complete")[2]
    search(store, "d", start_from_store=True, limits=(f"params<={bound}",), budget=1)
    adopted = [row for row in rows_of(store, "d") if row.adopted]
    assert adopted
    assert all((row.params or 0) <= bound for row in adopted)
    timed = {"evaluators": (Surrogate(epochs=1), Latency(repeats=3)), "limits": ("latency_ms<=1000",)}
    _, (notice,) = search(store, "e", start_from_store=True, budget=1, **timed)
    assert notice == "start-from-store: no trial is taken over, latency is measured anew in each study"
