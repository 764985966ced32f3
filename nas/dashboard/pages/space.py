"""What the choices of the space do: importance, effects, trials across the choices, and what has not been tried."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from dash import html

from nas.dashboard.components import Pick
from nas.dashboard.elements import figure, section, table
from nas.dashboard.frames import Frame
from nas.dashboard.fronts import spread
from nas.dashboard.importance import Sample, coverage, effects, importances
from nas.dashboard.pages.study_head import study_head
from nas.dashboard.selection import metrics_of
from nas.dashboard.table import Column, Table
from nas.dashboard.view import Page, Tables, View
from nas.figures import ChoiceColumn, effect_figure, importance_figure, parallel_figure
from nas.objective import Objective

MOST = 1000
"""Trials that are looked at; more are sampled evenly."""
_LINES = 8
_BARS = 15
_MACRO = "(the macro design)"
_WAIT = "Working it out; this appears by itself."


def draw(view: View) -> Page:
    """Draw the space of the first of the chosen studies."""
    names = view.studies[:1]
    if not names:
        return Page("Space", [html.H1("Space"), html.P("This store has no studies yet.", className="empty")])
    frame = view.queries.frame(names[0])
    objective = _objective(view, frame)
    sample = _sample(view, frame, objective)
    head = study_head(view, names)
    options = [{"value": name, "label": name} for name in metrics_of([frame]) if name not in ("trial", "epochs")]
    picker = html.Div(
        html.Fieldset(
            [
                html.Legend("Judged by"),
                Pick(label="metric", field="y", options=options, value=objective.metric, default=""),
            ]
        ),
        className="controls",
    )
    if len(sample.numbers) < 2 or not sample.paths():
        words = "Two complete trials with different choices are needed; this appears by itself."
        return Page(f"{names[0]} space", [*head, picker, html.P(words, className="empty")])
    shares = _importances(view, frame, objective, sample)
    order = list(shares) if shares else sample.paths()
    count = f"{len(sample.numbers):,} complete trials"
    parts = [
        *head,
        picker,
        _importance(view, shares, objective, count),
        _effect(view, sample, order, objective),
        _parallel(view, sample, order, objective),
        section(
            "Coverage",
            table(coverage_table(view), view.address, caption="Values tried of each choice", empty=_WAIT),
            note=f"Among {count}. A choice with few of its values tried is little explored, or open only under others.",
        ),
    ]
    return Page(f"{names[0]} space", parts)


def _objective(view: View, frame: Frame) -> Objective:
    first = frame.objectives[0].metric
    return frame.objective(view.address.chosen("y", metrics_of([frame]), first))


def _sample(view: View, frame: Frame, objective: Objective) -> Sample:
    values = frame.values(objective.metric)
    at = np.flatnonzero(frame.state("complete") & view.queries.shown(frame.row.name) & np.isfinite(values))
    at = at[spread(len(at), MOST)]

    def read() -> Sample:
        found = view.queries.store.choices(frame.row.id, at.tolist())
        return Sample(at.tolist(), [found[number] for number in at.tolist()], values[at].tolist())

    return view.queries.kept(("sample", frame.row.name, objective.metric), read)


def _version(sample: Sample) -> int:
    """Return what must change for importances to be worked out anew: a tenth more trials, not each one."""
    return (
        int(np.log(max(len(sample.numbers), 1)) / np.log(1.1))
        if len(sample.numbers) < MOST
        else sample.numbers[-1] // 5000
    )


def _importances(view: View, frame: Frame, objective: Objective, sample: Sample) -> dict[str, float] | None:
    key = ("importance", frame.row.name, objective.metric)
    return view.queries.later(key, _version(sample), lambda: importances(sample, objective.better))


def _importance(view: View, shares: dict[str, float] | None, objective: Objective, count: str) -> html.Section:
    if shares is None:
        return section("Importance of the choices", html.P(_WAIT, className="empty"))
    if not shares:
        return section("Importance of the choices", html.P("No choice was made in 20 trials yet.", className="empty"))
    most = {path or _MACRO: share for path, share in list(shares.items())[:_BARS]}
    label = f"importance for {objective.metric}"
    note = f"PED-ANOVA, as in Optuna, of {count}; each choice among the trials that make it, weighted by their share."
    return section(
        "Importance of the choices",
        figure(
            "importance",
            importance_figure(most, label, 18 if view.look.narrow else 44),
            "importance of the choices",
            view.look,
        ),
        note=note,
    )


def _effect(view: View, sample: Sample, order: list[str], objective: Objective) -> html.Section:
    paths = list(dict.fromkeys([*order, *sample.paths()]))
    path = view.address.chosen("choice", paths, paths[0])
    options = [{"value": each, "label": each or _MACRO} for each in paths]
    drawn = effect_figure(effects(sample, path), path or _MACRO, objective)
    return section(
        "Effect of one choice",
        html.Div(Pick(label="choice", field="choice", options=options, value=path, default=""), className="controls"),
        figure("effect", drawn, f"{objective.metric} by the values of {path or _MACRO}", view.look),
        note="A dot is a trial; boxes span the middle half. Other choices vary as well: this is a hint, no experiment.",
    )


def _parallel(view: View, sample: Sample, order: list[str], objective: Objective) -> html.Section:
    paths = [path for path in order if len([v for v in sample.column(path) if v is not None]) > len(sample.numbers) / 3]
    narrow = view.look.narrow
    paths = (paths or order)[: 2 if narrow else _LINES]
    columns = [_column(path, sample.column(path)) for path in paths]
    return section(
        "Trials across the choices",
        figure(
            "parallel",
            parallel_figure(columns, objective, sample.values, narrow=narrow),
            "trials across the choices",
            view.look,
        ),
        note="One line a trial. Drag along an axis to keep those that cross there.",
    )


def _column(path: str, values: list[Any]) -> ChoiceColumn:
    label = path.rpartition(".")[2] if "." in path else path or "macro design"
    known = [value for value in values if value is not None]
    if len(known) == len(values) and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in known):
        return ChoiceColumn(label, [float(value) for value in values])

    def place(word: str) -> tuple[bool, float, str]:
        number = float(word) if word.replace(".", "", 1).replace("e-", "", 1).isdigit() else math.inf
        return word != "-", number, word

    words = sorted({"-" if value is None else str(value) for value in values}, key=place)
    at = {word: float(index) for index, word in enumerate(words)}
    return ChoiceColumn(label, [at["-" if value is None else str(value)] for value in values], words)


def coverage_table(view: View) -> Table:
    """Return for each choice how often it was made and how many of its values were tried."""
    columns = [
        Column("choice", long=True),
        Column("trials", "number"),
        Column("tried", "number"),
        Column("of", "number"),
    ]
    columns.append(Column("share", "ratio"))
    names = view.studies[:1]
    if not names:
        return Table("coverage", columns, [])
    frame = view.queries.frame(names[0])
    sample = _sample(view, frame, _objective(view, frame))
    found = view.queries.later(("domains", names[0]), _version(sample), lambda: _domains(frame, sample)) or {}
    rows = [[path or _MACRO, trials, tried, of, tried / of] for path, trials, tried, of in coverage(sample, found)]
    return Table("coverage", columns, sorted(rows, key=lambda row: (row[4], -row[1])))


TABLES: Tables = {"coverage": coverage_table}


def _domains(frame: Frame, sample: Sample) -> dict[str, Any]:
    """Return the domain of each choice that some trial had open."""
    from space import DesignSpace

    space = DesignSpace.from_yaml(frame.row.space, frame.row.name)
    found: dict[str, Any] = {}
    for choices in sample.choices:
        if not choices.keys() - found.keys():
            continue

        def choose(path: str, domain: Any, choices: Any = choices) -> Any:
            found[path] = domain
            return choices[path]

        space.realise(choose)
    return found
