"""Trials by any two or three metrics: the front as a step line, the dominated faded, and those that have no place.

A trial that was refused or failed has no accuracy; it stands in a lane of its own under the plot, at its cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from nas.figures.front import Mark
from nas.figures.style import FRONT, GRID, HOVER, MODEL, PINK, STUDIES, SYMBOLS, TRIAL, YELLOW, axis, layout, wrapped
from nas.objective import Objective

Numbers = NDArray[np.float64]
WEBGL_FROM = 1500
"""Points from which a scatter is drawn by WebGL; below it SVG is as quick, and sharper."""
_LANES = {"infeasible": ("triangle-down-open", YELLOW), "failed": ("x-thin-open", MODEL)}
_LANE = 0.06
"""Height of a lane as a share of the figure."""


Kind = Literal["front", "dominated", "stopped"]


@dataclass(frozen=True)
class Layer:
    """Trials of one study that are drawn alike."""

    study: str
    kind: Kind
    numbers: Sequence[int] | NDArray[np.int64]
    x: Numbers
    y: Numbers
    z: Numbers | None = None
    hover: Sequence[str] = ()
    """Words at each trial, escaped; empty: number and coordinates."""


@dataclass(frozen=True)
class Lane:
    """Trials without a place in the plot, at their `x`."""

    study: str
    kind: Literal["infeasible", "failed"]
    numbers: Sequence[int] | NDArray[np.int64]
    x: Numbers


@dataclass(frozen=True)
class Scatter:
    """All that is drawn, and how."""

    x: Objective
    y: Objective
    z: Objective | None = None
    layers: Sequence[Layer] = ()
    lanes: Sequence[Lane] = ()
    marks: Sequence[Mark] = ()
    log_x: bool = False
    log_y: bool = False
    brush: tuple[float, float, float, float] | None = None
    """x from and to, y from and to, of the selected rectangle."""
    picked: tuple[float, float] | None = None
    """Where the chosen trial lies."""
    order: Sequence[str] = field(default=())
    """Names of the studies; their position chooses colour and symbol."""


def explore_figure(scatter: Scatter, height: int = 560) -> go.Figure:
    """Draw trials by two metrics, or by three in space."""
    figure = go.Figure(layout=layout(height) | {"template": "none", "clickmode": "event"})
    # zoom and camera survive new trials, and are given up where the axes change
    key = f"{scatter.x.metric}/{scatter.y.metric}/{scatter.z}/{scatter.log_x}/{scatter.log_y}"
    figure.update_layout(uirevision=key)
    count = sum(len(layer.x) for layer in scatter.layers)
    for layer in sorted(scatter.layers, key=lambda each: ("dominated", "stopped", "front").index(each.kind)):
        figure.add_trace(_space(layer, scatter) if scatter.z else _plane(layer, scatter, gl=count >= WEBGL_FROM))
    if scatter.z:
        figure.update_layout(scene=_scene(scatter), margin={"l": 0, "r": 0, "t": 36, "b": 0})
        return figure
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


def _look(layer: Layer, order: Sequence[str]) -> tuple[str, str, str]:
    index = order.index(layer.study) if layer.study in order else 0
    name = layer.kind if len(order) < 2 else f"{layer.kind} of {layer.study}"
    alone = len(order) < 2
    colour = STUDIES[index % len(STUDIES)]
    return name, (TRIAL if alone and layer.kind != "front" else colour), SYMBOLS[index % len(SYMBOLS)]


def _marker(layer: Layer, colour: str, symbol: str) -> dict[str, Any]:
    if layer.kind == "front":
        return {"color": colour, "size": 10, "symbol": symbol, "line": {"color": HOVER, "width": 1}}
    if layer.kind == "stopped":
        return {"color": colour, "size": 7, "symbol": f"{symbol}-open", "opacity": 0.7}
    return {"color": colour, "size": 6, "symbol": symbol, "opacity": 0.55}


def _words(layer: Layer, scatter: Scatter) -> dict[str, Any]:
    axes = (("x", scatter.x), ("y", scatter.y), ("z", scatter.z))
    numbers = "<br>".join(f"{escape(o.metric)} %{{{name}}}" for name, o in axes if o is not None)
    plain = f"<b>trial %{{customdata}}</b>  {escape(layer.study)}<br>{numbers}<extra>{layer.kind}</extra>"
    words = {"text": list(layer.hover), "hovertemplate": "%{text}<extra></extra>"} if layer.hover else {}
    # a list: from packed numbers the browser hands on no value at a click
    return {
        "customdata": np.asarray(layer.numbers).tolist(),
        "meta": {"study": layer.study},
        "hovertemplate": plain,
    } | words


def _plane(layer: Layer, scatter: Scatter, *, gl: bool) -> Any:
    name, colour, symbol = _look(layer, scatter.order)
    make = go.Scattergl if gl and layer.kind != "front" else go.Scatter
    lines: dict[str, Any] = {"mode": "markers"}
    if layer.kind == "front":
        shape = {"min": "hv", "max": "vh"}[scatter.x.better]
        lines = {"mode": "lines+markers", "line": {"color": colour, "width": 2, "shape": shape}}
    return make(
        x=layer.x,
        y=layer.y,
        name=escape(name),
        marker=_marker(layer, colour, symbol),
        **lines,
        **_words(layer, scatter),
    )


def _space(layer: Layer, scatter: Scatter) -> go.Scatter3d:
    name, colour, symbol = _look(layer, scatter.order)
    marker = _marker(layer, colour, {"triangle-up": "diamond", "pentagon": "cross", "star": "x"}.get(symbol, symbol))
    marker |= {"size": 6 if layer.kind == "front" else 3}
    return go.Scatter3d(
        x=layer.x, y=layer.y, z=layer.z, name=escape(name), mode="markers", marker=marker, **_words(layer, scatter)
    )


def _axis(objective: Objective, values: Sequence[float], *, log: bool) -> dict[str, Any]:
    found = axis(objective.metric, values, plain=True)
    if log:
        wide = bool(values) and min(values) > 0 and max(values) / min(values) >= 1e4
        found |= {"type": "log"} | ({} if wide else {"dtick": "D2"})
    return found


def _all(scatter: Scatter, name: str) -> list[float]:
    parts = [getattr(layer, name) for layer in scatter.layers if getattr(layer, name) is not None]
    return np.concatenate(parts).tolist() if parts else []


def _axes(figure: go.Figure, scatter: Scatter) -> None:
    figure.update_xaxes(_axis(scatter.x, _all(scatter, "x"), log=scatter.log_x), side="bottom")
    figure.update_yaxes(_axis(scatter.y, _all(scatter, "y"), log=scatter.log_y))
    if scatter.brush:
        x0, x1, y0, y1 = scatter.brush
        line = {"color": FRONT, "width": 1, "dash": "dot"}
        figure.update_layout(
            selections=[
                {"type": "rect", "xref": "x", "yref": "y", "x0": x0, "x1": x1, "y0": y0, "y1": y1, "line": line}
            ]
        )


def _scene(scatter: Scatter) -> dict[str, Any]:
    axes = {"xaxis": (scatter.x, "x", scatter.log_x), "yaxis": (scatter.y, "y", scatter.log_y)}
    if scatter.z is not None:
        axes["zaxis"] = (scatter.z, "z", False)
    made: dict[str, Any] = {"camera": {"eye": {"x": 1.5, "y": 1.5, "z": 1.0}}}
    for key, (objective, name, log) in axes.items():
        whole = _axis(objective, _all(scatter, name), log=log)
        title = {"text": whole["title"]["text"]}
        made[key] = {
            "title": title,
            "type": whole.get("type", "linear"),
            "gridcolor": GRID,
            "showbackground": False,
            "nticks": 6,
        }
        made[key] |= {k: whole[k] for k in ("tickformat", "exponentformat") if k in whole}
    return made


def _add_lanes(figure: go.Figure, scatter: Scatter) -> None:
    """Add what has no `y` in lanes under the plot: named models by cost, infeasible and failed trials."""
    placed = [m for m in scatter.marks if scatter.x.metric in m.values and scatter.y.metric in m.values]
    costs = [m for m in scatter.marks if scatter.x.metric in m.values and scatter.y.metric not in m.values]
    if placed:
        _diamonds(
            figure, placed, scatter.x.metric, [m.values[scatter.y.metric] for m in placed], "published models", "y"
        )
    kinds = [kind for kind in _LANES if any(lane.kind == kind and len(lane.x) for lane in scatter.lanes)]
    rows = [*kinds, *(["named models"] if costs else [])]
    if not rows:
        return
    for row, kind in enumerate(kinds):
        symbol, colour = _LANES[kind]
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
    hover = ["<br>".join([f"<b>{escape(mark.name)}</b>", *wrapped(mark.note)]) for mark in marks]
    figure.add_scatter(
        x=[mark.values[metric] for mark in marks],
        y=list(heights),
        yaxis=axis,
        name=name,
        mode="markers",
        text=hover,
        hovertemplate="%{text}<extra></extra>",
        marker={"symbol": "diamond", "color": PINK, "size": 8, "line": {"color": HOVER, "width": 1}},
    )
