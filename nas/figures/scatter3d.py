"""Trials by three metrics in space; those that lack one of them stand on its wall, as do named models.

A trial that was refused has no accuracy: it lies on the floor of the axis that it has no value of, at its costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go

from nas.figures.scatter import LANES, Lane, Layer, Scatter, axis_of, every, hovers_of, look_of, marker_of, words_of
from nas.figures.style import GRID, HOVER, MODEL, PINK
from nas.objective import Objective

_OUTLINED = ("circle", "diamond", "square")
"""Symbols that space has as outlines too."""
_IN_SPACE = {"triangle-up": "diamond", "pentagon": "cross", "star": "x"}
_BELOW = 0.06
"""How far under the least value the wall of an axis is, as a share of the values' span."""


def add_space(figure: go.Figure, scatter: Scatter, third: Objective) -> None:
    """Add all of it to the figure, `third` being the axis that points up."""
    axes = (("x", scatter.x, scatter.log_x), ("y", scatter.y, scatter.log_y), ("z", third, False))
    walls = {name: _wall(every(scatter, name), log=log) for name, _, log in axes}
    for layer in sorted(scatter.layers, key=lambda each: ("dominated", "stopped", "front").index(each.kind)):
        figure.add_trace(_trials(layer, scatter))
    for lane in scatter.lanes:
        if len(lane.x):
            figure.add_trace(_refused(lane, scatter, walls["y"]))
    _models(figure, scatter, axes, walls)
    if scatter.picked and len(scatter.picked) == 3:
        marker = {"symbol": "circle-open", "size": 14, "color": MODEL, "line": {"width": 3, "color": MODEL}}
        figure.add_scatter3d(
            **dict(zip("xyz", ([value] for value in scatter.picked), strict=True)),
            mode="markers",
            name="chosen",
            hoverinfo="skip",
            marker=marker,
        )
    figure.update_layout(scene=_scene(axes, scatter), margin={"l": 0, "r": 0, "t": 36, "b": 0})
    figure.update_layout(legend={"itemsizing": "constant"})


def _wall(values: Sequence[float], *, log: bool) -> float:
    if not values:
        return 0.0
    low, high = min(values), max(values)
    return low * (low / high) ** _BELOW if log else low - _BELOW * (high - low)


def _trials(layer: Layer, scatter: Scatter) -> go.Scatter3d:
    name, colour, symbol = look_of(layer, scatter.order)
    symbol = _IN_SPACE.get(symbol, symbol)
    marker = marker_of(layer, colour, symbol) | {"size": 6 if layer.kind == "front" else 3}
    if layer.kind == "stopped":
        marker["symbol"] = f"{symbol}-open" if symbol in _OUTLINED else symbol
    return go.Scatter3d(
        x=layer.x, y=layer.y, z=layer.z, name=escape(name), mode="markers", marker=marker, **words_of(layer, scatter)
    )


def _refused(lane: Lane, scatter: Scatter, wall: float) -> go.Scatter3d:
    name = lane.kind if len(scatter.order) < 2 else f"{lane.kind} of {lane.study}"
    symbol = "diamond-open" if lane.kind == "infeasible" else "x"
    return go.Scatter3d(
        x=lane.x,
        y=np.full(len(lane.x), wall),
        z=lane.z,
        name=escape(name),
        mode="markers",
        marker={"symbol": symbol, "color": LANES[lane.kind][1], "size": 4, "opacity": 0.8},
        customdata=np.asarray(lane.numbers).tolist(),
        meta={"study": lane.study},
        hovertemplate=f"<b>trial %{{customdata}}</b>  {escape(lane.study)}, {lane.kind}<extra></extra>",
    )


def _models(
    figure: go.Figure, scatter: Scatter, axes: Sequence[tuple[str, Objective, bool]], walls: dict[str, float]
) -> None:
    metrics = {name: objective.metric for name, objective, _ in axes}
    lacking = [(mark, [name for name in metrics if metrics[name] not in mark.values]) for mark in scatter.marks]
    for words, missing in (("published models", 0), ("named models (cost only)", 1)):
        marks = [mark for mark, lacks in lacking if len(lacks) == missing]
        if marks:
            places = {
                name: [mark.values.get(metric, walls[name]) for mark in marks] for name, metric in metrics.items()
            }
            marker = {"symbol": "diamond", "color": PINK, "size": 5, "line": {"color": HOVER, "width": 1}}
            hover = {"text": hovers_of(marks), "hovertemplate": "%{text}<extra></extra>"}
            figure.add_scatter3d(**places, name=words, mode="markers", marker=marker, **hover)


def _scene(axes: Sequence[tuple[str, Objective, bool]], scatter: Scatter) -> dict[str, Any]:
    made: dict[str, Any] = {
        "camera": {"eye": {"x": 1.45, "y": 1.45, "z": 0.8}, "center": {"x": 0.0, "y": 0.0, "z": -0.22}},
        "aspectmode": "manual",
        "aspectratio": {"x": 1.3, "y": 1.3, "z": 0.8},
    }
    for name, objective, log in axes:
        whole = axis_of(objective, every(scatter, name), log=log)
        made[f"{name}axis"] = {
            "title": {"text": whole["title"]["text"]},
            "type": whole.get("type", "linear"),
            "gridcolor": GRID,
            "showbackground": False,
            "nticks": 6,
        } | {key: whole[key] for key in ("tickformat", "exponentformat") if key in whole}
    return made
