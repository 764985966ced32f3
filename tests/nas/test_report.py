"""The report: one file, offline, escaped, and its figures hold exactly what the store holds."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from nas.figure_files import _written, write_figures
from nas.figures import DARK, Curve, Dot, Mark, as_json, curves_figure, front_figure, history_figure
from nas.objective import Objective
from nas.report import render, report_figures, write_report
from nas.settings import SearchSettings
from nas.study_data import StudyData
from space import DesignSpace, NasError
from space.named import PLAIN, named
from trials.store import Store

STUDY = "digits-a"
EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)> & \"quoted\" 'x'"


@pytest.fixture
def data(filled: Path) -> StudyData:
    with Store.open(filled) as store:
        return StudyData.read(store, STUDY)


class Outline(HTMLParser):
    """Collects elements, links out of the page, and the text outside scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._inside = tag
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "onerror", "onclick")]

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside not in ("script", "style"):
            self.text += data


def figures_of(page: str) -> list[dict[str, Any]]:
    found = re.search(r"^const figures = (\[.*\]);$", page, re.MULTILINE)
    assert found is not None
    return json.loads(found[1])


def trace(figure: dict[str, Any], name: str) -> dict[str, Any]:
    return next(trace for trace in figure["data"] if trace.get("name") == name)


def values(trace: dict[str, Any], axis: str) -> list[float]:
    """Return the numbers of a trace; Plotly packs arrays of numbers as base64."""
    found = trace[axis]
    if isinstance(found, dict):
        import base64

        import numpy as np

        return np.frombuffer(base64.b64decode(found["bdata"]), dtype=found["dtype"]).tolist()
    return found


def test_the_page_needs_nothing_from_outside(data: StudyData) -> None:
    outline = Outline(render(data))
    assert outline.links == []
    assert "link" not in outline.tags
    assert "iframe" not in outline.tags
    assert outline.tags.count("script") == 2


def test_the_page_holds_front_counts_and_reasons(data: StudyData) -> None:
    text = Outline(render(data)).text
    for point in data.front:
        assert f"{STUDY}:{point.trial}" in text
        assert point.architecture in text
        assert point.description in text
    assert "7 of 10" in text
    assert "training: loss is nan in epoch 2" in text
    assert "params 7,340,032 > 5,000,000" in text


def test_reasons_that_differ_in_numbers_are_counted_together(data: StudyData) -> None:
    causes = {(cause.state, cause.count, cause.first) for cause in data.causes()}
    assert causes == {("infeasible", 2, 7), ("failed", 1, 6), ("duplicate", 1, 9)}


def test_the_figure_holds_every_complete_trial_once(data: StudyData) -> None:
    figure = figures_of(render(data))[0]
    best, rest = trace(figure, "front"), trace(figure, "trials")
    drawn = sorted([*values(best, "y"), *values(rest, "y")])
    assert drawn == sorted(row.values["accuracy"] for row in data.trials if row.state == "complete")
    assert sorted(values(best, "x")) == sorted(float(point.macs) for point in data.front)
    assert "trial 4" in "".join(best["text"])


def test_the_front_is_a_step_that_shows_what_is_attainable(data: StudyData) -> None:
    best = trace(figures_of(render(data))[0], "front")
    assert best["line"]["shape"] == "hv"
    assert values(best, "x") == sorted(values(best, "x"))
    assert values(best, "y") == sorted(values(best, "y"))


def test_the_curves_hold_every_epoch(data: StudyData) -> None:
    figure = figures_of(render(data))[1]
    points = sum(sum(y is not None for y in values(t, "y")) for t in figure["data"])
    assert points == len(data.epochs)


def test_models_stand_at_the_accuracy_that_needed_no_other_data(
    data: StudyData, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = replace(data, settings=data.settings.model_copy(update={"data": "imagenet"}))
    tiny = named("convnext_tiny")
    plain, more = tiny.published
    assert (plain.pretrain, more.pretrain) == (PLAIN, "IN-22K")
    for published, top1, told in (
        ((plain, more), 82.1, False),
        ((more, plain), 82.1, False),
        ((more,), 82.9, True),
        ((replace(plain, top1=None), more), 82.9, True),
    ):
        monkeypatch.setattr("nas.model_marks.model_names", lambda: ["convnext_tiny"])
        monkeypatch.setattr("nas.model_marks.named", lambda name, p=published: replace(tiny, published=p))
        (mark,) = data.marks(224)
        assert mark.values["accuracy"] == pytest.approx(top1 / 100)
        assert f"{top1} % top-1" in mark.note
        assert ("(IN-22K)" in mark.note) is told
    monkeypatch.setattr("nas.model_marks.named", lambda name: replace(tiny, published=()))
    (mark,) = data.marks(224)
    assert "accuracy" not in mark.values


def test_stored_strings_are_text_never_markup(filled: Path) -> None:
    with Store.open(filled) as store:
        row = store.trial(store.study(STUDY).id, 11)
        store.start_trial(row.id, worker=EVIL, attempt=1)
        store.finish_trial(row.id, state="failed", reason=EVIL)
        plain = Outline(render(StudyData.read(store, STUDY)))
    assert plain.tags.count("script") == 2
    assert "img" not in plain.tags
    assert EVIL in plain.text


def test_a_hostile_description_is_text_in_a_figure() -> None:
    dot = Dot(0, "a" * 16, {"accuracy": 0.5, "macs": 1e6}, EVIL, on_front=True)
    mark = Mark(EVIL, {"macs": 1e6}, EVIL)
    y, x = Objective.parse("accuracy:max"), Objective.parse("macs:min")
    text = as_json(front_figure([dot], y, x, [mark], steps=True))
    assert "<" not in text
    hover = json.loads(text)["data"][1]["text"][0]
    assert "<script" not in hover
    assert "<img" not in hover


def dots(points: Sequence[tuple[float, float]], x: str, y: str) -> list[Dot]:
    return [Dot(i, "a" * 16, {x: a, y: b}, "net", on_front=True) for i, (a, b) in enumerate(points)]


@pytest.mark.parametrize(("better", "shape"), [("min", "hv"), ("max", "vh")])
def test_the_step_follows_the_direction(better: str, shape: str) -> None:
    figure = front_figure(
        dots([(1.0, 0.5), (2.0, 0.7)], "macs", "accuracy"),
        Objective.parse("accuracy:max"),
        Objective.parse(f"macs:{better}"),
        [],
        steps=True,
    )
    assert json.loads(as_json(figure))["data"][1]["line"]["shape"] == shape


@pytest.mark.parametrize(("spread", "kind"), [((1e6, 2e6), None), ((1e6, 1e9), "log")])
def test_wide_costs_are_drawn_on_a_logarithmic_axis(spread: tuple[float, float], kind: str | None) -> None:
    points = dots([(spread[0], 0.5), (spread[1], 0.7)], "macs", "accuracy")
    y, x = Objective.parse("accuracy:max"), Objective.parse("macs:min")
    assert json.loads(as_json(front_figure(points, y, x, [], steps=True)))["layout"]["xaxis"].get("type") == kind


def test_models_of_other_data_are_compared_by_cost_alone(data: StudyData) -> None:
    marks = data.marks(224)
    assert len(marks) > 10
    assert all("accuracy" not in mark.values for mark in marks)
    tiny = next(mark for mark in marks if mark.name == "convnext_tiny")
    assert tiny.values["params"] == 28589128
    assert "82.1 %" in tiny.note
    dot = Dot(0, "a" * 16, {"accuracy": 0.5, "macs": 4e9}, "net", on_front=True)
    figure = front_figure([dot], Objective.parse("accuracy"), Objective.parse("macs"), [tiny], steps=True)
    assert json.loads(as_json(figure))["data"][2]["yaxis"] == "y2"


def test_models_of_the_same_data_are_points_of_the_plot(filled: Path) -> None:
    with Store.open(filled) as store:
        row = store.study(STUDY)
        store.update_config(STUDY, row.config | {"data": "/data/imagenet"})
        marks = StudyData.read(store, STUDY).marks(224)
    assert next(mark for mark in marks if mark.name == "convnext_tiny").values["accuracy"] == pytest.approx(0.821)


def test_every_colour_has_a_dark_one(data: StudyData) -> None:
    page = render(data)
    used = set(re.findall(r'"(#[0-9a-f]{6})"', re.search(r"^const figures.*$", page, re.MULTILINE)[0]))  # type: ignore[index]
    template = {colour for colour in used if colour not in DARK}
    layouts = [figure["layout"] for figure in figures_of(page)]
    ours = json.dumps([{k: v for k, v in layout.items() if k != "template"} for layout in layouts])
    assert not [colour for colour in template if colour in ours]


def study(store: Store, name: str, *objectives: str) -> None:
    settings = SearchSettings.make(study=name, space="tiny", budget=3, objectives=objectives)
    text = DesignSpace.load("tiny").text
    store.create_study(
        name, space=text, config=settings.model_dump(mode="json"), code_version="0", data_fingerprint="0" * 16
    )


def test_a_study_without_trials_has_a_page_too(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.db") as store:
        study(store, "empty", "accuracy:max", "macs:min")
        page = render(StudyData.read(store, "empty"))
    assert "no front" in Outline(page).text
    assert figures_of(page) == []


def test_one_objective_is_drawn_by_trial() -> None:
    points = [Dot(n, "a" * 16, {"accuracy": a}, "net", on_front=False) for n, a in ((2, 0.6), (0, 0.5), (1, 0.4))]
    figure = json.loads(as_json(history_figure(points, Objective.parse("accuracy:max"))))
    assert values(figure["data"][0], "x") == [0, 1, 2]
    assert values(figure["data"][1], "y") == [0.5, 0.5, 0.6]


def test_a_curve_may_have_gaps() -> None:
    figure = curves_figure([Curve(0, [1, 2, 3], [0.1, None, 0.3], on_front=True)], "accuracy")
    assert values(json.loads(as_json(figure))["data"][0], "y")[1] is None


def test_the_file_is_written_whole_or_not_at_all(data: StudyData, tmp_path: Path) -> None:
    out = tmp_path / "new" / "report.html"
    assert write_report(data, out) == out.stat().st_size
    with pytest.raises(NasError, match=r"/proc/report\.html"):
        write_report(data, Path("/proc/report.html"))
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]


def test_the_command_writes_the_page(nas, filled: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.html"
    ran = nas("report", STUDY, "--store", filled, "--out", out)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"{out}: ")
    assert out.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_front_is_drawn_and_its_growth(data: StudyData) -> None:
    figures = report_figures(data)
    assert list(figures)[:2] == ["accuracy-macs", "curves"]
    assert {f"network-{point.trial}" for point in data.front[:6]} <= figures.keys()
    grown = json.loads(as_json(figures["hypervolume"]))["data"][0]
    assert values(grown, "y")[-1] == 1.0
    page = render(data)
    assert page.count('class="figure"') == len(figures)


@pytest.mark.browser
def test_figures_are_written_as_files(data: StudyData, tmp_path: Path) -> None:
    if shutil.which("chromium") is None and os.environ.get("NAS_REQUIRE_BROWSER") != "1":
        pytest.skip("no Chromium is installed")
    drawn = {"curves": report_figures(data)["curves"]}
    svg, png = _written(drawn, tmp_path)
    assert svg.read_text().startswith("<svg")
    assert png.read_bytes().startswith(b"\x89PNG")


def test_figures_without_kaleido_are_refused_in_words(
    data: StudyData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.figure_files.find_spec", lambda _: None)
    with pytest.raises(NasError, match=r"pip install 'nas-vision\[figures\]'"):
        write_figures(data, tmp_path)
