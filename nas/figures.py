"""Plotly figures of a study: pure functions of frozen values, every stored string escaped.

Colours are those of the light page; `DARK` names the colour that takes each one's place on a dark page.
Source: palette of Okabe and Ito, "Color Universal Design" (2008), told apart by all common kinds of colour vision;
markers differ in shape as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import plotly.graph_objects as go

from nas.front_table import unit_of
from nas.objective import Objective
from nas.quantities import measured

FRONT, TRIAL, MODEL, TEXT, GRID, HOVER = "#0072b2", "#8a8f98", "#d55e00", "#24292f", "#e3e6ea", "#ffffff"
DARK = {FRONT: "#56b4e9", TRIAL: "#a3abb5", MODEL: "#f0a050", TEXT: "#e6e8eb", GRID: "#343a43", HOVER: "#1d2127"}
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
_LOG_FROM = 5.0
"""Ratio of the largest to the smallest value from which an axis of counts is logarithmic."""


_DECADES = 1e4
"""Ratio up to which a logarithmic axis is marked at 1, 2 and 5 of each decade, beyond it at whole decades."""


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


@dataclass(frozen=True)
class Curve:
    """What a trial reported epoch by epoch."""

    trial: int
    epochs: Sequence[int]
    values: Sequence[float | None]
    on_front: bool


def front_figure(dots: Sequence[Dot], y: Objective, x: Objective, marks: Sequence[Mark], *, steps: bool) -> go.Figure:
    """Draw all trials by two objectives with the front as a step line, and the named models.

    Marks that have a value of `y` are points of the plot; the others know only their cost and stand on a line of their
    own below it. `steps` joins the front, which is a line only where these two are all the objectives.
    """
    figure = go.Figure(layout=_layout(520))
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
    figure.update_xaxes(_axis(x.metric, spread), side="bottom")
    figure.update_yaxes(_axis(y.metric, [dot.values[y.metric] for dot in dots], plain=True))
    _add_marks(figure, [mark for mark in marks if x.metric in mark.values], x, y)
    return figure


def history_figure(dots: Sequence[Dot], y: Objective) -> go.Figure:
    """Draw the only objective by trial number, with the best so far as a step line."""
    figure = go.Figure(layout=_layout(460))
    ordered = sorted(dots, key=lambda dot: dot.trial)
    pick, best = (max if y.better == "max" else min), list[float]()
    for dot in ordered:
        best.append(pick([*best[-1:], dot.values[y.metric]]))
    numbers = [dot.trial for dot in ordered]
    hover = [_hover(dot, [y.metric]) for dot in ordered]
    figure.add_scatter(
        x=numbers,
        y=[dot.values[y.metric] for dot in ordered],
        text=hover,
        hovertemplate="%{text}<extra></extra>",
        mode="markers",
        name="trials",
        marker={"color": TRIAL, "size": 6, "opacity": 0.6},
    )
    figure.add_scatter(
        x=numbers,
        y=best,
        mode="lines",
        name="best so far",
        line={"color": FRONT, "width": 2, "shape": "hv"},
        hoverinfo="skip",
    )
    figure.update_xaxes(_axis("trial", []))
    figure.update_yaxes(_axis(y.metric, best, plain=True))
    return figure


def curves_figure(curves: Sequence[Curve], metric: str) -> go.Figure:
    """Draw a metric by epoch, trials on the front before the others."""
    figure = go.Figure(layout=_layout(420))
    faded = [curve for curve in curves if not curve.on_front]
    x: list[int | None] = [value for curve in faded for value in [*curve.epochs, None]]
    y: list[float | None] = [value for curve in faded for value in [*curve.values, None]]
    if faded:
        line = {"color": TRIAL, "width": 1}
        figure.add_scatter(x=x, y=y, mode="lines", name="other trials", line=line, opacity=0.4, hoverinfo="skip")
    for index, curve in enumerate(curve for curve in curves if curve.on_front):
        text = [
            f"trial {curve.trial}, epoch {e}: {measured(v, unit_of(metric))}"
            for e, v in zip(curve.epochs, curve.values, strict=True)
        ]
        figure.add_scatter(
            x=list(curve.epochs),
            y=list(curve.values),
            text=text,
            hovertemplate="%{text}<extra></extra>",
            mode="lines+markers",
            marker={"size": 4},
            line={"color": FRONT, "width": 2},
            name="on the front",
            legendgroup="front",
            showlegend=index == 0,
        )
    figure.update_xaxes(_axis("epoch", []))
    figure.update_yaxes(_axis(metric, [], plain=True))
    return figure


def as_json(figure: go.Figure) -> str:
    """Return a figure as JSON that may stand inside a script element."""
    text = str(figure.to_json())
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _dots(dots: Sequence[Dot], x: Objective, y: Objective, name: str, marker: Mapping[str, Any]) -> go.Scatter:
    return go.Scatter(
        x=[dot.values[x.metric] for dot in dots],
        y=[dot.values[y.metric] for dot in dots],
        text=[_hover(dot, [y.metric, x.metric]) for dot in dots],
        hovertemplate="%{text}<extra></extra>",
        mode="markers",
        name=name,
        marker=dict(marker),
    )


def _hover(dot: Dot, first: Sequence[str]) -> str:
    names = list(dict.fromkeys([*first, "params", "macs", *dot.values]))
    numbers = [f"{escape(name)} {measured(dot.values[name], unit_of(name))}" for name in names if name in dot.values]
    return "<br>".join([f"<b>trial {dot.trial}</b>  {escape(dot.architecture)}", *numbers, *_wrapped(dot.description)])


def _wrapped(text: str, width: int = 48) -> list[str]:
    """Break text for a hover label, which does not wrap by itself."""
    import textwrap

    return [escape(part) for part in textwrap.wrap(text, width, break_long_words=True)]


def _add_marks(figure: go.Figure, marks: Sequence[Mark], x: Objective, y: Objective) -> None:
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
    hover = ["<br>".join([f"<b>{escape(mark.name)}</b>", *_wrapped(mark.note)]) for mark in marks]
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


def _layout(height: int) -> dict[str, Any]:
    return {
        "height": height,
        "margin": {"l": 64, "r": 16, "t": 36, "b": 56},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": _FONT, "size": 13, "color": TEXT},
        "hoverlabel": {"align": "left", "bgcolor": HOVER, "bordercolor": TRIAL, "font": {"color": TEXT, "size": 13}},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "xanchor": "left"},
        "hovermode": "closest",
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": TRIAL, "activecolor": FRONT},
        "dragmode": "zoom",
    }


def _axis(metric: str, values: Sequence[float], *, plain: bool = False) -> dict[str, Any]:
    """Return an axis for a metric: percent for ratios, prefixes for counts, logarithmic where they spread far."""
    unit = unit_of(metric)
    title = {"ratio": metric, "count": metric, "ms": metric.removesuffix("_ms") + " (ms)"}.get(
        unit, f"{metric} ({unit})" if unit else metric
    )
    axis: dict[str, Any] = {
        "title": {"text": escape(title), "standoff": 8},
        "gridcolor": GRID,
        "linecolor": GRID,
        "zeroline": False,
        "automargin": True,
    }
    if unit == "ratio":
        axis["tickformat"] = ".0%" if not values or max(values) - min(values) > 0.05 else ".1%"
    if unit == "ms":
        axis["tickformat"] = "~g"
    if unit == "count":
        axis |= {"tickformat": "~s", "exponentformat": "SI"}
    if not plain and unit in ("count", "ms") and values and min(values) > 0 and max(values) / min(values) > _LOG_FROM:
        axis |= {"type": "log", "dtick": "D2" if max(values) / min(values) < _DECADES else None}
    return axis
