"""The front: trials of one or more studies by any two or three metrics, with limits, brush and named models."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from dash import dcc, html

from nas.dashboard.address import link
from nas.dashboard.components import Check
from nas.dashboard.elements import aria, figure, section, table, tiles
from nas.dashboard.frames import Numbers
from nas.dashboard.fronts import thinned
from nas.dashboard.pages.front_controls import controls
from nas.dashboard.pages.front_table import division, front_page, front_table
from nas.dashboard.pages.study_head import study_head
from nas.dashboard.selection import Division, Selection, selected
from nas.dashboard.view import Page, Tables, View
from nas.figures import Lane, Layer, Mark, Scatter, explore_figure, hypervolume_figure
from nas.figures.explore import Kind
from nas.figures.style import hover_text
from nas.front import description_of, values_of
from nas.front_growth import growth
from nas.pareto import Direction

ROWS = 25
MOST_DOMINATED = 4000
MOST_LANE = 400
MOST_WORDS = 300
TABLES: Tables = {"front": front_table}


def draw(view: View) -> Page:
    """Draw the front of the chosen studies."""
    names = view.studies
    if not names:
        return Page("Front", [html.H1("Front"), html.P("This store has no studies yet.", className="empty")])
    frames = [view.queries.frame(name) for name in names]
    selection = selected(view.address, frames)
    parts = [division(view, frame, selection) for frame in frames]
    scatter, note = _scatter(view, names, selection, parts)
    label = f"{selection.y.metric} against {selection.x.metric}; the table below holds the same trials"
    head = study_head(view, names)
    if not any(len(part.among) for part in parts):
        note = "No trial is complete yet" + (" within these limits." if selection.limits else "; it appears by itself.")
    body: list[Any] = [
        *head,
        controls(view, names, frames, selection),
        html.Div(
            [
                figure(
                    "front", explore_figure(scatter, 460 if view.look.narrow else 560), label, view.look, select=True
                ),
                html.P(note, className="note"),
            ],
            id="picture",
        ),
        _picked(view, selection),
        section(_title(view, selection), _table(view), key="networks"),
        _growth(view, names, selection, parts),
    ]
    return Page(f"{', '.join(names)} front", [part for part in body if part is not None])


def _title(view: View, selection: Selection) -> str:
    if selection.brush:
        return "Selected trials"
    return "All trials" if view.address.get("show") == "all" else "The front"


def _table(view: View) -> Any:
    shown = front_page(view, ROWS)
    compared = view.address.all("trial")
    cells: list[Sequence[Any]] = []
    for row in shown.rows:
        ticked = row[0] in compared
        tick = Check(
            label="compare", hint=f"compare {row[0]}", field="trial", value=row[0], checked=ticked, several=True
        )
        cells.append([*([None] * (len(row) - 1)), html.Span([str(row[-1]), tick])])
    return table(shown, view.address, caption="Networks", cells=cells, empty="No trial to show; widen the limits.")


def _scatter(view: View, names: Sequence[str], selection: Selection, parts: Sequence[Division]) -> tuple[Scatter, str]:
    layers: list[Layer] = []
    lanes: list[Lane] = []
    hidden_points = farther = 0
    for name, part in zip(names, parts, strict=True):
        made, left_out = _layers(view, name, selection, part)
        layers += made
        hidden_points += left_out
        if selection.z is None and view.address.get("lanes") != "0":
            found, beyond = _lanes(view, name, selection, part)
            lanes, farther = lanes + found, farther + beyond
    marks = _marks(view, names[0], selection, layers) if view.address.get("models") != "0" else []
    place = None
    if selection.picked and selection.picked[0] in names and selection.z is None:
        frame, number = view.queries.frame(selection.picked[0]), selection.picked[1]
        if number < len(frame):
            at = (frame.values(selection.x.metric)[number], frame.values(selection.y.metric)[number])
            place = (float(at[0]), float(at[1])) if np.isfinite(at).all() else None
    words = ["Point at a dot for its numbers, click it for its network, draw a rectangle to filter the table."]
    if hidden_points:
        words.append(f"Dominated and not drawn, as they lie among others: {hidden_points:,}.")
    if farther:
        words.append(f"Refused or failed beyond the edges: {farther:,}.")
    scatter = Scatter(
        selection.x,
        selection.y,
        selection.z,
        layers,
        lanes,
        marks,
        selection.log_x,
        selection.log_y,
        selection.brush,
        place,
        names,
    )
    return scatter, " ".join(words)


def _layers(view: View, name: str, selection: Selection, part: Division) -> tuple[list[Layer], int]:
    frame = view.queries.frame(name)
    x, y = frame.values(selection.x.metric), frame.values(selection.y.metric)
    z = frame.values(selection.z.metric) if selection.z else None
    drawn = thinned(part.dominated, x, y, log_x=selection.log_x, log_y=selection.log_y, most=MOST_DOMINATED)
    groups: list[tuple[Kind, Any]] = [
        ("front", part.front),
        ("stopped", thinned(part.stopped, x, y, most=MOST_LANE)),
        ("dominated", drawn if view.address.get("dominated") != "0" else drawn[:0]),
    ]
    layers: list[Layer] = []
    for kind, at in groups:
        words = _hovers(view, name, at, selection) if kind == "front" else ()
        if len(at):
            layers.append(Layer(name, kind, at, x[at], y[at], None if z is None else z[at], words))
    return layers, len(part.dominated) - len(drawn)


def _hovers(view: View, name: str, at: Any, selection: Selection) -> list[str]:
    if len(at) > MOST_WORDS:
        return []
    rows = view.queries.trials(name, at.tolist())
    first = [objective.metric for objective in selection.axes]
    words: list[str] = []
    for number in at.tolist():
        row = rows[number]
        title = f"<b>trial {number}</b>  {escape(name)}"
        words.append(hover_text(title, values_of(row), first, description_of(row)))
    return words


def _lanes(view: View, name: str, selection: Selection, part: Division) -> tuple[list[Lane], int]:
    """Return those without a place in the plot near the trials that have one, and how many lie farther out."""
    x = view.queries.frame(name).values(selection.x.metric)
    placed = x[np.concatenate([part.front, part.dominated, part.stopped])]
    lanes: list[Lane] = []
    beyond = 0
    for kind, at in (("infeasible", part.infeasible), ("failed", part.failed)):
        if len(placed):
            inside = (x[at] >= _near(placed)[0]) & (x[at] <= _near(placed)[1])
            at, beyond = at[inside], beyond + int((~inside).sum())
        if len(at):
            at = thinned(at, x, x, log_x=selection.log_x, most=MOST_LANE)
            lanes.append(Lane(name, "failed" if kind == "failed" else "infeasible", at, x[at]))
    return lanes, beyond


def _near(values: Numbers) -> tuple[float, float]:
    """Return the ends of an axis that is that of the trials: what lies farther out would squeeze them."""
    low, high = float(values.min()), float(values.max())
    return (low / 1.5, high * 1.5) if low > 0 else (low, high)


def _marks(view: View, name: str, selection: Selection, layers: Sequence[Layer]) -> list[Mark]:
    """Return the named models near the trials, so that the axis stays that of the trials."""
    metric = selection.x.metric
    marks = view.queries.marks(view.queries.frame(name))
    if not layers or metric in ("trial", "epochs"):
        return []
    x = np.concatenate([layer.x for layer in layers])
    low, high = _near(x)
    return [mark for mark in marks if metric in mark.values and low <= mark.values[metric] <= high][:60]


def _picked(view: View, selection: Selection) -> Any:
    if selection.picked is None:
        return None
    study, number = selection.picked
    row = view.queries.trials(study, [number]).get(number)
    if row is None:
        return html.P(f"{study}:{number} is not in this store.", className="notice")
    reference = f"{study}:{number}"
    compared = view.address.all("trial")
    parts = [
        html.H2(dcc.Link(reference, href=link("network", study, number))),
        html.P(row.reason or description_of(row)),
        tiles([(shown, name) for name, shown in _numbers(row)]),
        html.Div(
            [
                dcc.Link("Open the network", href=link("network", study, number), className="button"),
                Check(label="Compare", field="trial", value=reference, checked=reference in compared, several=True),
                dcc.Link("Close", href=view.address.changed(pick=None).href),
            ],
            className="row",
        ),
    ]
    return html.Aside(parts, className="picked", **aria(f"chosen trial {reference}"))


def _numbers(row: Any) -> list[tuple[str, str]]:
    from nas.front_table import unit_of
    from nas.quantities import measured

    numbers = list(values_of(row).items())[:6]
    return [("state", row.state)][::-1] + [(name, measured(value, unit_of(name))) for name, value in numbers]


def _growth(view: View, names: Sequence[str], selection: Selection, parts: Sequence[Division]) -> Any:
    ways: list[Direction] = [objective.better for objective in selection.axes]
    grown: dict[str, tuple[list[int], list[float]]] = {}
    for name, part in zip(names, parts, strict=True):
        frame = view.queries.frame(name)
        columns = [frame.values(objective.metric) for objective in selection.axes]
        key = ("growth", name, selection.axes, tuple(sorted(selection.limits.items())), view.address.get("hidden"))

        def work(columns: list[Numbers] = columns, part: Division = part) -> tuple[list[int], list[float]]:
            return growth(columns, ways, part.among)

        found = view.queries.soon(key, int(part.among.sum()) * (len(ways) - 1), work)
        if found is not None and found[0]:
            grown[name] = found
    if not grown:
        return None
    return section(
        "Hypervolume",
        figure("growth", hypervolume_figure(grown), "hypervolume of the front by trial number", view.look),
        note="How much the front dominates after each trial, as a share of what it dominates now; a flat end says that "
        "the search has stopped finding better networks.",
    )
