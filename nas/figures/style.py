"""How figures look: colours, layout, axes, hover texts; every stored string is escaped here.

Colours are those of the light page; `DARK` names the colour that takes each one's place on a dark page.
Source: palette of Okabe and Ito, "Color Universal Design" (2008), told apart by all common kinds of colour vision;
markers differ in shape as well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go

from nas.front_table import unit_of
from nas.quantities import measured

FRONT, TRIAL, MODEL, TEXT, GRID, HOVER = "#0072b2", "#8a8f98", "#d55e00", "#24292f", "#e3e6ea", "#ffffff"
GREEN, PINK, SKY, YELLOW = "#009e73", "#cc79a7", "#3b8fc4", "#b8860b"
DARK = {
    FRONT: "#56b4e9",
    TRIAL: "#a3abb5",
    MODEL: "#f0a050",
    TEXT: "#e6e8eb",
    GRID: "#343a43",
    HOVER: "#1d2127",
    GREEN: "#2fc99b",
    PINK: "#e3a3c6",
    SKY: "#8cc8f0",
    YELLOW: "#f0e442",
}
STUDIES = (FRONT, GREEN, PINK, YELLOW, SKY)
"""Colours of studies that are drawn over each other, in turn."""
SYMBOLS = ("circle", "square", "triangle-up", "pentagon", "star")
"""Symbols of the same studies."""
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
_LOG_FROM = 5.0
"""Ratio of the largest to the smallest value from which an axis of counts is logarithmic."""
_DECADES = 1e4
"""Ratio up to which a logarithmic axis is marked at 1, 2 and 5 of each decade, beyond it at whole decades."""


def as_json(figure: go.Figure) -> str:
    """Return a figure as JSON that may stand inside a script element."""
    text = str(figure.to_json())
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def darkened(figure: go.Figure) -> dict[str, Any]:
    """Return a figure as JSON-able values with the colours of a dark page."""

    def swap(value: Any) -> Any:
        if isinstance(value, str):
            return DARK.get(value, value)
        if isinstance(value, list):
            return [swap(item) for item in value]
        return {key: swap(item) for key, item in value.items()} if isinstance(value, dict) else value

    return swap(json.loads(str(figure.to_json())))


def hover_text(title: str, values: Mapping[str, float], first: Sequence[str], description: str) -> str:
    """Return the words at a point: its title (escaped by the caller), numbers and description."""
    names = list(dict.fromkeys([*first, "params", "macs", *values]))
    numbers = [f"{escape(name)} {measured(values[name], unit_of(name))}" for name in names if name in values]
    return "<br>".join([title, *numbers, *wrapped(description)])


def wrapped(text: str, width: int = 48) -> list[str]:
    """Break text for a hover label, which does not wrap by itself."""
    import textwrap

    return [escape(part) for part in textwrap.wrap(text, width, break_long_words=True)]


def layout(height: int) -> dict[str, Any]:
    """Return what all figures have in common; height in pixels."""
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


def axis(metric: str, values: Sequence[float], *, plain: bool = False) -> dict[str, Any]:
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
