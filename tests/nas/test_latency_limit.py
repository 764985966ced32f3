"""A limit on latency: predictions refuse what is too slow, the front is measured again alone, errors are held out."""

from __future__ import annotations

import json
import random
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nas.driver import SearchError
from nas.events import Event, Notice
from nas.executors import Inline
from nas.latency_model import LEAST, LatencyModel
from nas.search import resume_search, run_search
from nas.settings import SearchSettings
from space import Architecture, DesignSpace, cost
from trials.block_latency import BlockTable, parts
from trials.evaluator import Evaluator, Job, OnEpoch
from trials.evaluators.latency import Latency
from trials.evaluators.surrogate import Surrogate
from trials.measurement import Measured
from trials.rows import TrialRow
from trials.store import Store

EVALUATORS: tuple[Evaluator, ...] = (Surrogate(epochs=1), Latency(repeats=3))


def true_ms(arch: Architecture) -> float:
    return cost(arch, 32).macs / 1e6


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "nas.db")


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Latencies that follow from MACs, and the points that were measured whole, in order."""
    seen: list[str] = []

    def evaluate(self: Latency, job: Job, on_epoch: OnEpoch) -> dict[str, Measured]:
        seen.append(job.arch.id)
        return {"latency_ms": Measured(true_ms(job.arch), "ms", 0.0, {"device": "cpu"})}

    monkeypatch.setattr(Latency, "evaluate", evaluate)
    monkeypatch.setattr(BlockTable, "latency", lambda self, arch, side: 0.8 * true_ms(arch))
    return seen


def settings(limit: float, **changes: Any) -> SearchSettings:
    values: dict[str, Any] = {"study": "s", "space": "tiny", "budget": 12, "train_as": "full", "device": "cpu"}
    values |= {"evaluators": EVALUATORS, "limits": (f"latency_ms<={limit:.6f}",), "cost_resolution": 32}
    return SearchSettings.make(**(values | changes))


def rows_of(store: Store) -> list[TrialRow]:
    return store.trials(store.study("s").id)


def ms_of(row: TrialRow) -> float:
    return true_ms(Architecture.model_validate_json(row.arch_json))


def middle_ms() -> float:
    """Return a bound that half of the space meets."""
    rng, space = random.Random(0), DesignSpace.load("tiny")
    return statistics.median(true_ms(space.sample(rng)) for _ in range(40))


def test_what_is_predicted_too_slow_is_refused_unmeasured(store: Store, measured: list[str]) -> None:
    bound = middle_ms()
    result = run_search(store, settings(bound, budget=16, sampler="random"), executor=Inline())
    rows = rows_of(store)
    refused = [row for row in rows if row.reason and row.reason.startswith("latency_ms predicted")]
    assert refused
    assert all(row.attempt == 0 and row.arch_id not in measured for row in refused)
    assert all(ms_of(row) > bound for row in refused)
    assert all(ms_of(row) <= bound for row in rows if row.state == "complete")
    assert result.done == 16
    ms = {row.arch_id: ms_of(row) for row in rows}
    assert all(ms[arch_id] <= 1.01 * bound for arch_id in measured[LEAST:]), "nothing too slow is measured once taught"


def test_a_limit_that_no_network_meets_ends_the_search(store: Store, measured: list[str]) -> None:
    with pytest.raises(SearchError, match="none meets them"):
        run_search(store, settings(1e-6), executor=Inline())
    assert measured == []


def test_refused_trials_keep_a_resumed_search_as_it_would_have_been(store: Store, measured: list[str]) -> None:
    whole = Store.open(store.url.replace("nas.db", "whole.db"))
    bound = middle_ms()
    run_search(whole, settings(bound), executor=Inline())
    run_search(store, settings(bound, budget=5), executor=Inline())
    resume_search(store, "s", executor=Inline(), budget=12)

    def gist(of: Store) -> list[tuple[Any, ...]]:
        return [(r.number, r.state, r.arch_id, r.sampler) for r in rows_of(of)]

    assert gist(store) == gist(whole)


def test_the_front_is_measured_alone_and_what_breaks_the_limit_leaves_it(
    store: Store, measured: list[str], monkeypatch: pytest.MonkeyPatch, nas: Callable[..., Any]
) -> None:
    bound = middle_ms()
    calls: dict[str, int] = {}

    def slow_alone(arch_id: str) -> bool:
        return int(arch_id, 16) % 2 == 1

    def evaluate(self: Latency, job: Job, on_epoch: OnEpoch) -> dict[str, Measured]:
        calls[job.arch.id] = calls.get(job.arch.id, 0) + 1
        slower = 1e3 if calls[job.arch.id] > 1 and slow_alone(job.arch.id) else 1.0
        return {"latency_ms": Measured(slower * true_ms(job.arch), "ms", 0.0, {"device": "cpu"})}

    monkeypatch.setattr(Latency, "evaluate", evaluate)
    events: list[Event] = []
    result = run_search(store, settings(bound), executor=Inline(), on_event=events.append)
    rows = {row.number: row for row in rows_of(store)}
    struck = {number for number, row in rows.items() if row.state == "complete" and row.reason}
    assert struck
    assert result.done == 12
    assert not struck & {point.trial for point in result.front}
    assert not any(slow_alone(point.architecture) for point in result.front)
    assert all(slow_alone(rows[number].arch_id) for number in struck)
    again = {n for n, row in rows.items() if row.state == "complete" and calls[row.arch_id] == 2}
    assert again == struck | {point.trial for point in result.front}
    said = [event.text for event in events if isinstance(event, Notice) and "leaves the front" in event.text]
    assert len(said) == len(struck)
    shown = json.loads(nas("front", "s", "--json", "--store", store.url).out)
    assert {point["trial"] for point in shown} == {point.trial for point in result.front}
    listed = nas("trials", "s", "--store", store.url).out
    assert listed.count("measured again with nothing else at work") == len(struck)
    alone = [m for m in store.measurements_of(rows[min(struck)].id) if m.metric == "latency_ms"]
    assert [m.circumstances.get("alone") for m in alone] == [None, "yes"]
    assert alone[1].value == pytest.approx(1e3 * alone[0].value)
    resume_search(store, "s", executor=Inline())
    assert max(calls.values()) == 2


class _Sums(BlockTable):
    """A table that knows all sums."""

    def __init__(self) -> None:
        self.measured = 0

    def latency(self, arch: Architecture, resolution: int) -> float:
        return true_ms(arch)


def test_the_error_is_that_of_networks_held_out() -> None:
    rng, space = random.Random(1), DesignSpace.load("tiny")
    model = LatencyModel(_Sums(), 32)
    archs = [space.sample(rng) for _ in range(20)]
    assert model.predict(archs[0]) == pytest.approx(true_ms(archs[0]))
    for arch in archs:
        per_part = sum(1 for _ in parts(arch, 32)) / true_ms(arch)
        model.tell(arch, 1.3 * true_ms(arch) * per_part**0.2)
    error = model.error()
    assert error.networks == 20
    assert error.additive > 15
    assert error.corrected < error.additive / 3
    assert model.margin < 0.3


def test_command_tells_the_error(
    nas: Callable[..., Any], refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAS_LATENCY", str(tmp_path))
    found = json.loads(nas("bench", "latency", "tiny", "--networks", 10, "--json").out)
    assert found["networks"] == 10
    assert 0 < found["corrected_mdape_percent"] < 200
    assert 0 < found["additive_mdape_percent"] < 200
    assert found["low"] <= found["high"]
    assert found["parts"] == found["known"] > 10
    assert Path(found["file"]).parent == tmp_path
    assert "tinny" in refused("bench", "latency", "tinny")
