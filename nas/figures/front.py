"""The front of a study: what is learnt against what it costs, with the named models beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import plotly.graph_objects as go

from nas.figures.style import FRONT, HOVER, MODEL, TRIAL, axis, hover_text, layout, wrapped
from nas.objective import Objective


@dataclass(frozen=True)
class Dot:
    """A trial with numbers, as the figures need it."""

    trial: int
    architecture: str
    values: Mapping[str, float]
    description: str
    on_front: bool


@dataclass(frozen=True)
class Mark:
    """A named model: its values where they can be compared, and words about it."""

    name: str
    values: Mapping[str, float]
    note: str


def front_figure(dots: Sequence[Dot], y: Objective, x: Objective, marks: Sequence[Mark], *, steps: bool) -> go.Figure:
    """Draw all trials by two objectives with the front as a step line, and the named models.

    Marks that have a value of `y` are points of the plot; the others know only their cost and stand on a line of their
    own below it. `steps` joins the front, which is a line only where these two are all the objectives.
    """
    figure = go.Figure(layout=layout(520))
    rest = [dot for dot in dots if not dot.on_front]
    best = sorted((dot for dot in dots if dot.on_front), key=lambda dot: (dot.values[x.metric], dot.values[y.metric]))
    figure.add_trace(_dots(rest, x, y, "trials", {"color": TRIAL, "size": 6, "opacity": 0.45}))
    figure.add_trace(_dots(best, x, y, "front", {"color": FRONT, "size": 10, "line": {"color": HOVER, "width": 1}}))
    if steps:
        shape = "hv" if x.better == "min" else "vh"
        figure.update_traces(
            {"mode": "lines+markers", "line": {"color": FRONT, "width": 2, "shape": shape}}, {"name": "front"}
        )
    spread = [dot.values[x.metric] for dot in dots]
    figure.update_xaxes(axis(x.metric, spread), side="bottom")
    figure.update_yaxes(axis(y.metric, [dot.values[y.metric] for dot in dots], plain=True))
    add_marks(figure, [mark for mark in marks if x.metric in mark.values], x, y)
    return figure


def dot_hover(dot: Dot, first: Sequence[str]) -> str:
    """Return the words at a dot."""
    return hover_text(f"<b>trial {dot.trial}</b>  {escape(dot.architecture)}", dot.values, first, dot.description)


def _dots(dots: Sequence[Dot], x: Objective, y: Objective, name: str, marker: Mapping[str, Any]) -> go.Scatter:
    return go.Scatter(
        x=[dot.values[x.metric] for dot in dots],
        y=[dot.values[y.metric] for dot in dots],
        text=[dot_hover(dot, [y.metric, x.metric]) for dot in dots],
        hovertemplate="%{text}<extra></extra>",
        mode="markers",
        name=name,
        marker=dict(marker),
    )


def add_marks(figure: go.Figure, marks: Sequence[Mark], x: Objective, y: Objective) -> None:
    """Add named models: as points where they have a value of `y`, else on a line of their own below the plot."""
    compared = [mark for mark in marks if y.metric in mark.values]
    costs = [mark for mark in marks if y.metric not in mark.values]
    if compared:
        _add_diamonds(figure, compared, x.metric, [mark.values[y.metric] for mark in compared], "published models", "y")
    if not costs:
        return
    _add_diamonds(figure, costs, x.metric, [0.0] * len(costs), "named models (cost only)", "y2")
    figure.update_layout(
        yaxis={"domain": [0.16, 1.0]},
        yaxis2={"domain": [0.0, 0.1], "range": [-2.2, 0.8], "visible": False, "fixedrange": True, "anchor": "x"},
    )
    figure.update_xaxes(anchor="y2")


def _add_diamonds(
    figure: go.Figure, marks: Sequence[Mark], metric: str, heights: Sequence[float], name: str, axis: str
) -> None:
    places = [mark.values[metric] for mark in marks]
    hover = ["<br>".join([f"<b>{escape(mark.name)}</b>", *wrapped(mark.note)]) for mark in marks]
    named = _labelled([_axis_place(place, places) for place in places])
    figure.add_scatter(
        x=places,
        y=list(heights),
        yaxis=axis,
        name=name,
        mode="markers+text",
        text=[escape(mark.name) if index in named else "" for index, mark in enumerate(marks)],
        textposition="bottom center",
        textfont={"size": 11, "color": MODEL},
        hovertext=hover,
        hovertemplate="%{hovertext}<extra></extra>",
        marker={"symbol": "diamond", "color": MODEL, "size": 9},
    )


def _axis_place(value: float, values: Sequence[float]) -> float:
    """Return where a value stands between the least (0) and the largest (1) on a logarithmic axis."""
    low, high = math.log(min(values)), math.log(max(values))
    return (math.log(value) - low) / (high - low) if high > low else 0.0


def _labelled(places: Sequence[float], gap: float = 0.2) -> set[int]:
    """Choose which of these places between 0 and 1 bear a label, so that no two labels touch."""
    chosen: list[int] = []
    for index in sorted(range(len(places)), key=lambda index: places[index]):
        if not chosen or places[index] - places[chosen[-1]] >= gap:
            chosen.append(index)
    return set(chosen)
