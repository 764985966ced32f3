"""Every page on an empty, a filled and a hostile store, as elements; what the store holds is what they say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.nas.dashboard.conftest import EVIL, STUDY, again, found, words_of
from trials.rows import Annotation
from trials.store import Store

PAGES = (
    "/",
    "/front",
    f"/front?study={STUDY}&z=params&pick={STUDY}:4",
    f"/front?study={STUDY}&x=params&y=loss&logx=0&logy=1&most.params=1e9&brush=0,1e12,0,9",
    f"/network/{STUDY}/4",
    f"/network/{STUDY}/6",
    f"/network/{STUDY}/8",
    f"/compare?trial={STUDY}:0&trial={STUDY}:4",
    "/compare",
    "/space",
    "/workers",
)


@pytest.mark.parametrize("store", ["filled_once", "hostile_once"])
def test_every_page_is_drawn(show, request, store: str) -> None:
    for address in PAGES:
        page = show(request.getfixturevalue(store), address)
        assert "broke" not in words_of(page.parts), address
        assert "Cannot show" not in page.title, address


@pytest.mark.parametrize("address", ["/", "/front", "/space", "/workers", "/compare"])
def test_an_empty_store_says_what_to_do(show, empty: Path, address: str) -> None:
    page = show(empty, address)
    assert "broke" not in words_of(page.parts)
    assert any(word in words_of(page.parts) for word in ("no studies yet", "Choose two"))


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("/nothing", "There is no page '/nothing'"),
        ("/front?study=digits-b", "study 'digits-b': not in store"),
        ("/front?x=acuracy", "address: x='acuracy', allowed: accuracy, macs"),
        ("/front?brush=1,2", "four numbers"),
        ("/front?most.params=lots", "address: most.params='lots', allowed: a number"),
        (f"/network/{STUDY}/99", f"study '{STUDY}': no trial 99, allowed: 0 to 11"),
        (f"/network/{STUDY}", "expected /network/STUDY/NUMBER"),
        ("/compare?" + "&".join(f"trial={STUDY}:{n}" for n in range(7)), "compare: 7 networks, allowed: 2 to 6"),
    ],
)
def test_a_senseless_address_is_told_in_one_line(show, filled: Path, address: str, words: str) -> None:
    assert words in words_of(show(filled, address).parts)


def test_studies_tell_progress_and_best(show, filled: Path) -> None:
    page = show(filled, "/")
    words = words_of(page.parts)
    assert "accuracy 95.00 %" in words
    (bar,) = found(page.parts, "Progress")
    assert (bar.value, bar.max) == ("7", "10")
    (spark,) = found(page.parts, "Img")
    assert spark.alt.startswith("front of ")


def test_the_picture_holds_front_dominated_and_those_without_a_place(show, filled: Path) -> None:
    page = show(filled, f"/front?study={STUDY}")
    (graph, _) = found(page.parts, "Graph")
    traces = {trace.name: trace for trace in graph.figure.data}
    with Store.open(filled) as store:
        rows = store.trials(store.study(STUDY).id, state="complete")
    drawn = [*traces["front"].y, *traces["dominated"].y]
    assert sorted(drawn) == sorted(row.values["accuracy"] for row in rows)
    costs = [float(row.macs or 0) for row in rows]
    near = (min(costs) / 1.5, max(costs) * 1.5)  # what is much larger would squeeze the picture
    beyond = 0
    with Store.open(filled) as store:
        for state in ("infeasible", "failed"):
            others = store.trials(store.study(STUDY).id, state=state)
            inside = [row.number for row in others if near[0] <= (row.macs or 0) <= near[1]]
            beyond += len(others) - len(inside)
            assert (list(traces[state].customdata) if state in traces else []) == inside
    assert (f"Refused or failed beyond the edges: {beyond}." in words_of(page.parts)) == (beyond > 0)


def test_limits_leave_out_and_the_front_follows(show, filled: Path) -> None:
    with Store.open(filled) as store:
        rows = store.trials(store.study(STUDY).id, state="complete")
    limit = sorted(row.params or 0 for row in rows)[2]
    graph = found(show(filled, f"/front?study={STUDY}&most.params={limit}").parts, "Graph")[0]
    kept = {row.number for row in rows if (row.params or 0) <= limit}
    numbers = [n for trace in graph.figure.data if trace.name in ("front", "dominated") for n in trace.customdata]
    assert set(numbers) == kept


def test_the_brush_filters_the_table(show, filled: Path) -> None:
    page = show(filled, f"/front?study={STUDY}&brush=0,1e15,0.9,1")
    rows = [words_of(row) for row in found(found(page.parts, "Tbody"), "Tr")]
    assert len(rows) == 2
    assert all(any(n in row for row in rows) for n in (f"{STUDY}:1", f"{STUDY}:4"))


def test_a_zoom_is_where_the_axes_are_and_a_senseless_one_is_told(show, filled: Path) -> None:
    figure = found(show(filled, f"/front?study={STUDY}&logx=1&zoom=1e4,1e6,0.5,0.9").parts, "Graph")[0].figure
    assert list(figure.layout.xaxis.range) == pytest.approx([4, 6])
    assert list(figure.layout.yaxis.range) == pytest.approx([0.5, 0.9])
    words = words_of(show(filled, f"/front?study={STUDY}&logx=1&zoom=-1,1e6,0.5,0.9").parts)
    assert "allowed: numbers above 0 on a logarithmic axis" in words
    assert "four numbers" in words_of(show(filled, f"/front?study={STUDY}&zoom=1,inf,0,1").parts)


def test_three_axes_have_walls_for_what_lacks_a_value_and_limits_at_both_ends(show, filled: Path) -> None:
    page = show(filled, f"/front?study={STUDY}&z=params&pick={STUDY}:4")
    traces = {trace.name: trace for trace in found(page.parts, "Graph")[0].figure.data}
    least = min(min(traces[name].y) for name in ("front", "dominated"))
    with Store.open(filled) as store:
        refused = store.trials(store.study(STUDY).id, state=["infeasible", "failed"])
    shown = [name for name in ("infeasible", "failed") if name in traces]
    assert refused
    assert all(y < least for name in shown for y in traces[name].y)
    assert traces["chosen"].y[0] == 0.95
    fields = {each.field for each in found(page.parts, "Range")}
    assert {"least.accuracy", "most.accuracy", "least.params", "most.params", "least.macs", "most.macs"} <= fields
    assert "The limits filter picture and table" in words_of(page.parts)


def test_named_models_stand_on_the_wall_of_three_axes() -> None:
    from nas.figures import Layer, Mark, Scatter, explore_figure
    from nas.objective import Objective

    x, y, z = (Objective(metric=m, better=b) for m, b in (("macs", "min"), ("accuracy", "max"), ("params", "min")))
    values = np.array([1.0, 2.0])
    marks = [Mark("model", {"macs": 1.5, "params": 1.2}, ""), Mark("bare", {"macs": 1.5}, "")]
    layers = [Layer(study, "stopped", [0, 1], values, values, values) for study in ("a", "b", "c", "d", "e")]
    figure = explore_figure(Scatter(x, y, z, layers, marks=marks, order=("a", "b", "c", "d", "e")))
    (models,) = [trace for trace in figure.data if trace.name == "named models (cost only)"]
    assert (list(models.x), list(models.z)) == ([1.5], [1.2])
    assert models.y[0] < 1.0


def test_the_lineage_tells_from_what_and_what_was_changed(show, filled: Path) -> None:
    with Store.open(filled) as store:
        like = store.trial(store.study(STUDY).id, 0)
        first = again(store, STUDY, like, {"accuracy": 0.5}, choices={"width": 16, "depth": 2})
        child = again(
            store, STUDY, like, {"accuracy": 0.6}, choices={"width": 24, "depth": 2}, extra={"parents": [first.number]}
        )
        last = again(
            store, STUDY, like, {"accuracy": 0.7}, choices={"width": 24}, extra={"parents": [child.number, 0, 999]}
        )
    words = words_of(show(filled, f"/network/{STUDY}/{child.number}").parts)
    assert "mutated from" in words
    assert "1 choice differs width: 24 where it has 16" in " ".join(words.split())
    words = " ".join(words_of(show(filled, f"/network/{STUDY}/{last.number}").parts).split())
    assert "crossed from" in words
    assert "depth: - where it has 2" in words
    assert f"{STUDY}:{last.number} \u2190 {STUDY}:{child.number} \u2190 {STUDY}:{first.number}" in words


def test_the_macro_design_has_a_name_everywhere(show, filled: Path) -> None:
    with Store.open(filled) as store:
        like = store.trial(store.study(STUDY).id, 0)
        for index in range(6):
            choices = {"": ("pyramid", "isotropic")[index % 2], "width": 16 + 8 * (index % 3)}
            again(store, STUDY, like, {"accuracy": 0.5 + index / 20}, choices=choices)
    page = show(filled, f"/space?study={STUDY}&choice=")
    assert "(the macro design)" in {option["label"] for pick in found(page.parts, "Pick") for option in pick.options}
    graphs = {graph.id: graph.figure for graph in found(page.parts, "Graph")}
    assert "macro design" in {dimension.label for dimension in graphs["plot-parallel"].data[0].dimensions}


def test_hidden_trials_leave_the_front_until_asked_for(show, filled: Path) -> None:
    with Store.open(filled) as store:
        store.annotate(store.trial(store.study(STUDY).id, 4).id, Annotation(hidden=True))
    assert f"{STUDY}:4" not in words_of(show(filled, f"/front?study={STUDY}").parts)
    assert f"{STUDY}:4" in words_of(show(filled, f"/front?study={STUDY}&hidden=1").parts)


def test_two_studies_are_drawn_over_each_other(show, overlaid: Path) -> None:
    page = show(overlaid, f"/front?study={STUDY}&study=digits-b")
    names = {trace.name for trace in found(page.parts, "Graph")[0].figure.data}
    assert {f"front of {STUDY}", "front of digits-b"} <= names
    colours = {t.marker.color for t in found(page.parts, "Graph")[0].figure.data if t.name.startswith("front")}
    assert len(colours) == 2
    assert {trace.name for trace in found(page.parts, "Graph")[1].figure.data} == {STUDY, "digits-b"}


def test_a_network_is_told_in_full(show, filled: Path) -> None:
    words = words_of(show(filled, f"/network/{STUDY}/4").parts)
    for part in ("Nearest published network", "stage 1", "channels", f"nas export {STUDY}:4 --to my-network", "seed"):
        assert part in words


def test_a_comparison_marks_what_differs_and_nothing_else(show, filled: Path) -> None:
    page = show(filled, f"/compare?trial={STUDY}:0&trial={STUDY}:4")
    for row in found(found(page.parts, "Tbody"), "Tr"):
        first, *cells = row.children
        values = {words_of(cell) for cell in cells}
        assert words_of(first).startswith("\u2260") == (len(values) > 1)
        assert bool(found(row, "Mark")) == (len(values) > 1)


def test_failures_are_grouped(show, filled: Path) -> None:
    words = words_of(show(filled, "/workers").parts)
    assert "params 7,340,032 > 5,000,000" in words
    assert "params 9,000,000" not in words
    assert "inline" in words


def test_a_running_trial_is_listed_with_its_worker(show, filled: Path) -> None:
    page = show(filled, "/workers")
    first = found(page.parts, "Table")[0]
    assert f"{STUDY}:10" in words_of(first)


def test_stored_markup_is_escaped_in_figures(show, hostile: Path) -> None:
    for address in (*PAGES, f"/network/{STUDY}/12", f"/front?study={STUDY}&pick={STUDY}:12"):
        for graph in found(show(hostile, address).parts, "Graph"):
            text = json.dumps(json.loads(str(graph.figure.to_json())))
            assert "<script" not in text
            assert "<img" not in text


def test_hostile_words_reach_the_page_as_text(show, hostile: Path) -> None:
    assert EVIL in words_of(show(hostile, "/workers").parts)
    assert EVIL in words_of(show(hostile, f"/network/{STUDY}/12").parts)


def test_choices_have_importance_effect_and_coverage(show, look_at, filled: Path) -> None:
    rng = np.random.default_rng(0)
    with Store.open(filled) as store:
        row = store.trial(store.study(STUDY).id, 0)
        for index in range(40):
            width = int(rng.choice([16, 24, 32, 40, 48]))
            choices = {"width": width, "noise": str(rng.choice(["a", "b"]))}
            again(store, STUDY, row, {"accuracy": width / 50}, params=1000 + index, macs=1000, choices=choices)
    from nas.dashboard.importance import Sample, coverage, effects, importances

    found_choices = look_at(filled).store.choices(1, range(12, 52))
    values = [choice["width"] / 50 for choice in found_choices.values()]
    sample = Sample(list(found_choices), list(found_choices.values()), values)
    shares = importances(sample, "max")
    assert shares["width"] > 10 * shares["noise"]
    assert sum(shares.values()) == pytest.approx(1)
    assert list(effects(sample, "width")) == ["16", "24", "32", "40", "48"]
    assert all(len(set(ys)) == 1 for ys in effects(sample, "width").values())
    from space.choice import IntRange

    domain = IntRange(int_range=(16, 64), step=8)
    assert coverage(sample, {"width": domain}) == [("width", 40, 5, 7)]
    page = show(filled, "/space")
    assert {"plot-effect", "plot-parallel"} <= {graph.id for graph in found(page.parts, "Graph")}


def test_a_reused_result_links_the_trial_that_was_trained(show, filled: Path) -> None:
    with Store.open(filled) as store:
        study = store.study(STUDY)
        source = store.trial(study.id, 4)
        again = store.create_study(
            "again", space=study.space, config=study.config | {"study": "again"}, code_version="1", data_fingerprint="f"
        )
        row = store.add_trial(
            again.id, state="queued", arch_id=source.arch_id, arch_json=source.arch_json, params=source.params,
            macs=source.macs, choices=source.choices, seed=source.seed, sampler="tpe",
        )  # fmt: skip
        store.finish_trial(row.id, state="complete", source=source.id)
    parts = show(filled, "/network/again/0").parts
    assert f"result of {STUDY}:4 , trained in the same way; not trained again" in words_of(parts)
    assert f"/network/{STUDY}/4" in [each.href for each in found(parts, "Link")]
    assert "result of" not in words_of(show(filled, f"/network/{STUDY}/4").parts)
