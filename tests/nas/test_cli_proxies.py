"""nas proxies list and rank, on a recorded file and on a study."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from nas.bench.curves import CurvePoint, CurveRun, Curves
from nas.executors import Inline
from nas.proxy_ranking import RETRAINED, rank_rows
from nas.proxy_scores import Population, ProxyScores, score_population
from nas.search import run_search
from nas.settings import SearchSettings
from space import DesignSpace, Proxy, cost
from trials.data import load_data
from trials.proxies.naswot import Naswot
from trials.store import Store
from trials.training import PROXY_RECIPE
from trials.zero_cost import ProxyError, proxies

TWIN = Proxy(width=0.25, depth=0.5, resolution=8)


@pytest.fixture
def curves(tmp_path: Path) -> Path:
    """Write eight points of the tiny space, the more parameters the more accurate; the first four are trained twice."""
    space, rng, data = DesignSpace.load("tiny"), random.Random(0), load_data("digits", resolution=8)
    points: dict[str, CurvePoint] = {}
    while len(points) < 8:
        arch = space.sample(rng).model_copy(update={"classes": 10, "in_channels": 1})
        own, twin = cost(arch, 32), cost(TWIN.shrink(arch), 8)
        points[arch.id] = CurvePoint(
            arch.id, arch.model_dump(mode="json"), own.params, own.macs, twin.params, twin.macs
        )
    order = sorted(point.params for point in points.values())
    runs = [
        CurveRun(index, repeat, 3, (0.1, order.index(point.params) / 10 + 0.01 * repeat), (2.0, 1.0), (0.1, 0.1))
        for repeat in (0, 1)
        for index, point in enumerate(list(points.values())[: 8 - 4 * repeat])
    ]
    head = {
        "data": "digits", "fingerprint": data.fingerprint, "proxy": TWIN.model_dump(), "resolution": 8,
        "cost_resolution": 32, "recipe": PROXY_RECIPE.model_dump(mode="json"),
    }  # fmt: skip
    path = tmp_path / "eight.json.gz"
    Curves(head, tuple(points.values()), tuple(runs)).save(path)
    return path


def test_list_names_every_proxy_with_its_paper(nas) -> None:
    ran = nas("proxies", "list")
    assert (ran.code, ran.err) == (0, "")
    assert [line.split()[0] for line in ran.out.splitlines()[1:]] == list(proxies())
    rows = json.loads(nas("proxies", "list", "--json").out)
    assert {row["proxy"] for row in rows} == set(proxies())
    assert next(row for row in rows if row["proxy"] == "az_nas")["metrics"][0] == "az_nas_expressivity"
    assert all(row["computes"].endswith(".") for row in rows)


def test_rank_holds_proxies_against_recorded_accuracies(nas, curves: Path, tmp_path: Path) -> None:
    page = tmp_path / "figure.html"
    words = ("proxies", "rank", "--curves", curves, "--proxy", "params", "naswot", "--bands", 2)
    rows = json.loads(nas(*words, "--figure", page, "--json").out)
    by = {(row["proxy"], row["band"]): row for row in rows}
    assert by["params", "all"]["spearman"] == pytest.approx(1.0)
    assert by["params", "all"]["networks"] == 8
    assert by[RETRAINED, "all"]["networks"] == 4
    assert by["naswot", "all"]["cpu_ms"] > by["params", "all"]["cpu_ms"] >= 0
    assert by["naswot", "all"]["kendall_low"] <= by["naswot", "all"]["kendall"] <= by["naswot", "all"]["kendall_high"]
    assert sorted(row["networks"] for row in rows if row["proxy"] == "naswot") == [4, 4, 8]
    assert "plotly" in page.read_text(encoding="utf-8")
    table = nas(*words).out.splitlines()
    assert table[0].split()[:3] == ["source", "proxy", "MACs"]
    assert len(table) == 1 + len(rows)


def test_rank_takes_the_complete_trials_of_a_study(nas, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "nas.db")
    recipe = PROXY_RECIPE.model_copy(update={"epochs": 1, "epoch_images": 64, "validation_images": 40})
    settings = SearchSettings.make(
        study="s", space="tiny", budget=4, sampler="random", proxy=TWIN, train_as="proxy", recipe=recipe
    )
    run_search(store, settings, executor=Inline())
    accuracies = [row.values["accuracy"] for row in store.trials(store.study("s").id)]
    store.close()
    ran = nas(
        "proxies", "rank", "--study", "s", "--store", tmp_path / "nas.db", "--proxy", "macs", "--bands", 1, "--json"
    )
    (row,) = json.loads(ran.out)
    assert (row["population"], row["networks"], row["band"]) == ("s", 4, "all")
    assert len(set(accuracies)) == 1 or -1 <= row["spearman"] <= 1


def test_a_network_without_a_score_is_left_out_and_told_of(nas, curves: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter(range(8))

    def score(self: Naswot, probe: object) -> tuple[float]:
        if (call := next(calls)) == 2:
            raise ProxyError("naswot: too odd")
        return (float(call),)

    monkeypatch.setattr(Naswot, "score", score)
    ran = nas("proxies", "rank", "--curves", curves, "--proxy", "naswot", "--bands", 1, "--json")
    assert "naswot: no score for 1 networks, as for number 2: naswot: too odd" in ran.err
    row = json.loads(ran.out)[1]
    assert (row["networks"], row["failed"]) == (7, 1)


def test_wrong_words_are_refused_in_one_line(refused, curves: Path, tmp_path: Path) -> None:
    assert "give --curves FILE or --study NAME" in refused("proxies", "rank")
    assert "did you mean 'naswot'" in refused("proxies", "rank", "--curves", curves, "--proxy", "naswat")
    assert "suffix '.pdf', allowed" in refused("proxies", "rank", "--curves", curves, "--figure", tmp_path / "a.pdf")
    assert "shows one source" in refused("proxies", "rank", "--curves", curves, curves, "--figure", tmp_path / "a.html")
    content = Curves.load(curves)
    Curves({**content.head, "fingerprint": "other"}, content.points, content.runs).save(curves)
    assert "was recorded on other" in refused("proxies", "rank", "--curves", curves)
    Curves(Curves.load(curves).head | {"fingerprint": content.head["fingerprint"]}, content.points, ()).save(curves)
    assert "eight: 0 networks with an accuracy, at least 3" in refused("proxies", "rank", "--curves", curves)


def test_rankings_come_best_first_with_the_ceiling_on_top() -> None:
    accuracy = np.arange(6.0)
    again = accuracy[:4], accuracy[:4][::-1].copy()
    population = Population("made", (), accuracy, np.array([6.0, 5, 4, 3, 2, 1]) * 1e6, again)
    scored = [
        ProxyScores("macs", 1, {"macs": population.macs}, 0.1),
        ProxyScores("params", 1, {"params": np.array([0.0, 1, 2, 3, np.nan, 5])}, 0.1, {4: "why"}),
    ]
    rows = rank_rows(population, scored, 2)
    assert [(row.proxy, row.band) for row in rows[:4]] == [
        (RETRAINED, "all"), ("params", "all"), ("params", "1.00M to 3.00M"), ("params", "4.00M to 6.00M"),
    ]  # fmt: skip
    assert [row.spearman.value for row in rows[:3]] == pytest.approx([-1, 1, float("nan")], nan_ok=True)
    assert rows[1].failed == 1
    assert rows[4].spearman.value == pytest.approx(-1)
    assert score_population(population, []) == []
