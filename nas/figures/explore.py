"""Trials by any two or three metrics: the front as a step line, the dominated faded, and those that have no place.

A trial that was refused or failed has no accuracy; it stands in a lane of its own under the plot, at its cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import log10
from typing import Any

import numpy as np
import plotly.graph_objects as go

from nas.figures.front import Mark
from nas.figures.scatter import LANES, Layer, Scatter, axis_of, every, hovers_of, look_of, marker_of, words_of
from nas.figures.scatter3d import add_space
from nas.figures.style import FRONT, HOVER, MODEL, PINK, layout

WEBGL_FROM = 2500
"""Points from which a scatter is drawn by WebGL; below it SVG is as quick, also at the first picture, and sharper."""
_LANE = 0.06
"""Height of a lane as a share of the figure."""


def explore_figure(scatter: Scatter, height: int = 560) -> go.Figure:
    """Draw trials by two metrics, or by three in space."""
    figure = go.Figure(layout=layout(height) | {"template": "none", "clickmode": "event"})
    # zoom and camera survive new trials, and are given up where the axes change
    key = f"{scatter.x.metric}/{scatter.y.metric}/{scatter.z}/{scatter.log_x}/{scatter.log_y}"
    figure.update_layout(uirevision=key)
    if scatter.z:
        add_space(figure, scatter, scatter.z)
        return figure
    count = sum(len(layer.x) for layer in scatter.layers)
    for layer in sorted(scatter.layers, key=lambda each: ("dominated", "stopped", "front").index(each.kind)):
        figure.add_trace(_plane(layer, scatter, gl=count >= WEBGL_FROM))
    _axes(figure, scatter)
    _add_lanes(figure, scatter)
    if scatter.picked:
        figure.add_scatter(
            x=[scatter.picked[0]],
            y=[scatter.picked[1]],
            mode="markers",
            name="chosen",
            hoverinfo="skip",
            marker={"symbol": "circle-open", "size": 20, "color": MODEL, "line": {"width": 3, "color": MODEL}},
        )
    return figure


def _plane(layer: Layer, scatter: Scatter, *, gl: bool) -> Any:
    name, colour, symbol = look_of(layer, scatter.order)
    make = go.Scattergl if gl and layer.kind != "front" else go.Scatter
    lines: dict[str, Any] = {"mode": "markers"}
    if layer.kind == "front":
        shape = {"min": "hv", "max": "vh"}[scatter.x.better]
        lines = {"mode": "lines+markers", "line": {"color": colour, "width": 2, "shape": shape}}
    return make(
        x=layer.x,
        y=layer.y,
        name=escape(name),
        marker=marker_of(layer, colour, symbol),
        **lines,
        **words_of(layer, scatter),
    )


def _axes(figure: go.Figure, scatter: Scatter) -> None:
    figure.update_xaxes(axis_of(scatter.x, every(scatter, "x"), log=scatter.log_x), side="bottom")
    figure.update_yaxes(axis_of(scatter.y, every(scatter, "y"), log=scatter.log_y))
    if scatter.zoom:
        x0, x1, y0, y1 = scatter.zoom
        figure.update_xaxes(range=[log10(x0), log10(x1)] if scatter.log_x else [x0, x1])
        figure.update_yaxes(range=[log10(y0), log10(y1)] if scatter.log_y else [y0, y1])
    if scatter.brush:
        x0, x1, y0, y1 = scatter.brush
        line = {"color": FRONT, "width": 1, "dash": "dot"}
        figure.update_layout(
            selections=[
                {"type": "rect", "xref": "x", "yref": "y", "x0": x0, "x1": x1, "y0": y0, "y1": y1, "line": line}
            ]
        )


def _add_lanes(figure: go.Figure, scatter: Scatter) -> None:
    """Add what has no `y` in lanes under the plot: named models by cost, infeasible and failed trials."""
    placed = [m for m in scatter.marks if scatter.x.metric in m.values and scatter.y.metric in m.values]
    costs = [m for m in scatter.marks if scatter.x.metric in m.values and scatter.y.metric not in m.values]
    if placed:
        _diamonds(
            figure, placed, scatter.x.metric, [m.values[scatter.y.metric] for m in placed], "published models", "y"
        )
    kinds = [kind for kind in LANES if any(lane.kind == kind and len(lane.x) for lane in scatter.lanes)]
    rows = [*kinds, *(["named models"] if costs else [])]
    if not rows:
        return
    for row, kind in enumerate(kinds):
        symbol, colour = LANES[kind]
        for lane in (each for each in scatter.lanes if each.kind == kind and len(each.x)):
            figure.add_scatter(
                x=lane.x,
                y=np.full(len(lane.x), -float(row)),
                yaxis="y2",
                mode="markers",
                name=kind if len(scatter.order) < 2 else escape(f"{kind} of {lane.study}"),
                marker={"symbol": symbol, "color": colour, "size": 8, "opacity": 0.8, "line": {"width": 1.5}},
                customdata=np.asarray(lane.numbers).tolist(),
                meta={"study": lane.study},
                hovertemplate=f"<b>trial %{{customdata}}</b>  {escape(lane.study)}, {kind}<br>"
                f"{escape(scatter.x.metric)} %{{x}}<extra></extra>",
            )
    if costs:
        _diamonds(figure, costs, scatter.x.metric, [-float(len(kinds))] * len(costs), "named models (cost only)", "y2")
    room = _LANE * len(rows)
    figure.update_layout(
        yaxis={"domain": [room + 0.05, 1.0]},
        yaxis2={
            "domain": [0.0, room],
            "range": [-len(rows) + 0.4, 0.6],
            "fixedrange": True,
            "automargin": True,
            "anchor": "x",
            "showgrid": False,
            "zeroline": False,
            "tickvals": [-float(row) for row in range(len(rows))],
            "ticktext": ["models" if row == "named models" else row for row in rows],
        },
    )
    figure.update_xaxes(anchor="y2")


def _diamonds(
    figure: go.Figure, marks: Sequence[Mark], metric: str, heights: Sequence[float], name: str, axis: str
) -> None:
    figure.add_scatter(
        x=[mark.values[metric] for mark in marks],
        y=list(heights),
        yaxis=axis,
        name=name,
        mode="markers",
        text=hovers_of(marks),
        hovertemplate="%{text}<extra></extra>",
        marker={"symbol": "diamond", "color": PINK, "size": 8, "line": {"color": HOVER, "width": 1}},
    )
