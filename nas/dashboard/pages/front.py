"""The front: trials of one or more studies by any two or three metrics, with limits, brush and named models."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, Literal

import numpy as np
from dash import dcc, html

from nas.dashboard.address import link
from nas.dashboard.components import Check
from nas.dashboard.elements import aria, figure, section, table, tiles
from nas.dashboard.frames import Frame, Numbers
from nas.dashboard.fronts import thinned
from nas.dashboard.pages.front_controls import controls
from nas.dashboard.pages.front_table import division, front_page, front_table
from nas.dashboard.pages.study_head import study_head
from nas.dashboard.selection import Division, Selection, selected, within
from nas.dashboard.view import Page, Tables, View
from nas.figures import Lane, Layer, Mark, Scatter, explore_figure, hypervolume_figure
from nas.figures.scatter import Kind
from nas.figures.style import hover_text
from nas.front import description_of, values_of
from nas.front_growth import growth
from nas.pareto import Direction

ROWS = 25
MOST_DOMINATED = 1000
"""Dominated trials in the whole picture, few enough to be drawn at once and sharply."""
MOST_ZOOMED = 4000
"""Dominated trials of the part that is looked at, and of the three-axes view: these are drawn by WebGL."""
MOST_LANE = 200
MOST_WORDS = 300
_PLANE_WORDS = (
    "Point at a dot for its numbers, click it for its network, draw a rectangle to filter the table; drag to zoom, "
    "double-click to see everything again."
)
_SPACE_WORDS = (
    "Drag to turn it, scroll to come nearer, point at a dot for its numbers, click it for its network. The limits "
    "filter picture and table; what lacks a value stands on the wall of that axis. Rectangles are for two axes."
)
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
        study, _, number = row[0].rpartition(":")
        cells.append([html.Span([dcc.Link(row[0], href=link("network", study, number)), tick], className="pair")])
    return table(shown, view.address, caption="Networks", cells=cells, empty="No trial to show; widen the limits.")


def _scatter(view: View, names: Sequence[str], selection: Selection, parts: Sequence[Division]) -> tuple[Scatter, str]:
    layers: list[Layer] = []
    lanes: list[Lane] = []
    hidden_points = farther = 0
    for name, part in zip(names, parts, strict=True):
        made, left_out = _layers(view, name, selection, part)
        layers += made
        hidden_points += left_out
        if view.address.get("lanes") != "0":
            found, beyond = _lanes(view, name, selection, part)
            lanes, farther = lanes + found, farther + beyond
    marks = _marks(view, names[0], selection, layers) if view.address.get("models") != "0" else []
    words = [_SPACE_WORDS if selection.z else _PLANE_WORDS]
    if hidden_points:
        more = "" if selection.z else "; zoom in to see those of a part"
        words.append(f"Dominated and not drawn, as they lie among others: {hidden_points:,}{more}.")
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
        selection.zoom,
        _place(view, names, selection),
        names,
    )
    return scatter, " ".join(words)


def _place(view: View, names: Sequence[str], selection: Selection) -> tuple[float, ...] | None:
    """Return where the chosen trial lies, None where it has no place."""
    if selection.picked is None or selection.picked[0] not in names:
        return None
    frame, number = view.queries.frame(selection.picked[0]), selection.picked[1]
    if number >= len(frame):
        return None
    at = tuple(float(frame.values(objective.metric)[number]) for objective in selection.axes)
    return at if np.isfinite(at).all() else None


def _drawn(frame: Frame, selection: Selection, dominated: Any) -> Any:
    """Return the dominated trials to draw: a few of all, and of the part that is looked at, as many as can be."""
    x, y = frame.values(selection.x.metric), frame.values(selection.y.metric)
    logs = {"log_x": selection.log_x, "log_y": selection.log_y}
    if selection.z is not None:
        return thinned(dominated, x, y, **logs, most=MOST_ZOOMED)
    drawn = thinned(dominated, x, y, **logs, most=MOST_DOMINATED)
    if selection.zoom is None:
        return drawn
    near = within(frame, selection, selection.zoom, dominated)
    return np.union1d(drawn, thinned(near, x, y, **logs, most=MOST_ZOOMED))


def _layers(view: View, name: str, selection: Selection, part: Division) -> tuple[list[Layer], int]:
    frame = view.queries.frame(name)
    x, y = frame.values(selection.x.metric), frame.values(selection.y.metric)
    z = frame.values(selection.z.metric) if selection.z else None
    drawn = _drawn(frame, selection, part.dominated)
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
    frame = view.queries.frame(name)
    x = frame.values(selection.x.metric)
    z = frame.values(selection.z.metric) if selection.z else None
    everywhere = np.concatenate([part.front, part.dominated, part.stopped])
    lanes: list[Lane] = []
    beyond = 0
    groups: list[tuple[Literal["infeasible", "failed"], Any]] = [
        ("infeasible", part.infeasible),
        ("failed", part.failed),
    ]
    for kind, at in groups:
        if z is not None:
            at = at[np.isfinite(z[at])]
        for values in (x,) if z is None else (x, z):
            if len(everywhere):
                low, high = _near(values[everywhere])
                inside = (values[at] >= low) & (values[at] <= high)
                at, beyond = at[inside], beyond + int((~inside).sum())
        if len(at):
            at = thinned(at, x, x, log_x=selection.log_x, most=MOST_LANE)
            lanes.append(Lane(name, kind, at, x[at], None if z is None else z[at]))
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
    near = {metric: _near(np.concatenate([layer.x for layer in layers]))}
    if selection.z is not None:
        near[selection.z.metric] = _near(np.concatenate([layer.z for layer in layers if layer.z is not None]))

    def beside(mark: Mark) -> bool:
        return metric in mark.values and all(
            low <= mark.values[name] <= high for name, (low, high) in near.items() if name in mark.values
        )

    return [mark for mark in marks if beside(mark)][:60]


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
