"""Trials by two or three metrics as they are drawn: layers, lanes, marks, and how each looks on any axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nas.figures.front import Mark
from nas.figures.style import HOVER, MODEL, STUDIES, SYMBOLS, TRIAL, YELLOW, axis, wrapped
from nas.objective import Objective

Numbers = NDArray[np.float64]
LANES = {"infeasible": ("triangle-down-open", YELLOW), "failed": ("x-thin-open", MODEL)}
"""Symbol and colour of trials without a place in the plot."""
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
    z: Numbers | None = None


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
    zoom: tuple[float, float, float, float] | None = None
    """x from and to, y from and to, of what is seen; None: everything."""
    picked: tuple[float, ...] | None = None
    """Where the chosen trial lies: one number an axis."""
    order: Sequence[str] = field(default=())
    """Names of the studies; their position chooses colour and symbol."""


def look_of(layer: Layer, order: Sequence[str]) -> tuple[str, str, str]:
    """Return name, colour and symbol of a layer."""
    index = order.index(layer.study) if layer.study in order else 0
    name = layer.kind if len(order) < 2 else f"{layer.kind} of {layer.study}"
    alone = len(order) < 2
    colour = STUDIES[index % len(STUDIES)]
    return name, (TRIAL if alone and layer.kind != "front" else colour), SYMBOLS[index % len(SYMBOLS)]


def marker_of(layer: Layer, colour: str, symbol: str) -> dict[str, Any]:
    """Return the marker of a layer."""
    if layer.kind == "front":
        return {"color": colour, "size": 10, "symbol": symbol, "line": {"color": HOVER, "width": 1}}
    if layer.kind == "stopped":
        return {"color": colour, "size": 7, "symbol": f"{symbol}-open", "opacity": 0.7}
    return {"color": colour, "size": 6, "symbol": symbol, "opacity": 0.55}


def words_of(layer: Layer, scatter: Scatter) -> dict[str, Any]:
    """Return what a layer says at each trial, and what a click on it tells."""
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


def axis_of(objective: Objective, values: Sequence[float], *, log: bool) -> dict[str, Any]:
    """Return an axis for a metric."""
    found = axis(objective.metric, values, plain=True)
    if log:
        wide = bool(values) and min(values) > 0 and max(values) / min(values) >= 1e4
        found |= {"type": "log"} | ({} if wide else {"dtick": "D2"})
    return found


def every(scatter: Scatter, name: str) -> list[float]:
    """Return the values of all layers along an axis."""
    parts = [getattr(layer, name) for layer in scatter.layers if getattr(layer, name) is not None]
    return np.concatenate(parts).tolist() if parts else []


def hovers_of(marks: Sequence[Mark]) -> list[str]:
    """Return the words at named models."""
    return ["<br>".join([f"<b>{escape(mark.name)}</b>", *wrapped(mark.note)]) for mark in marks]
