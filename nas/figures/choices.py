"""What choices do: trials as lines across the choices, the importance of each, and the effect of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import plotly.graph_objects as go

from nas.figures.style import FRONT, GRID, TEXT, TRIAL, axis, layout
from nas.objective import Objective

# dark is good in both looks: seen against the page and by all kinds of colour vision (cividis, Nunez et al. 2018)
_SCALE = "Cividis"


@dataclass(frozen=True)
class ChoiceColumn:
    """One choice across trials: its values, as positions where they are words."""

    label: str
    values: Sequence[float]
    words: Sequence[str] = ()
    """What the positions 0, 1, 2, ... mean; empty for numbers."""


def parallel_figure(
    columns: Sequence[ChoiceColumn], objective: Objective, values: Sequence[float], *, narrow: bool = False
) -> go.Figure:
    """Draw each trial as a line across the choices, coloured by the objective; `narrow` is for small screens."""
    letters = 11 if narrow else 18
    figure = go.Figure(layout=layout(460) | {"template": "none", "uirevision": "parallel"})
    dimensions = []
    for column in columns:
        words = {"tickvals": list(range(len(column.words))), "ticktext": [_cut(word, letters) for word in column.words]}
        dimensions.append(
            {"label": _cut(column.label, 22), "values": np.asarray(column.values)} | (words if column.words else {})
        )
    dimensions.append({"label": _cut(objective.metric, 22), "values": np.asarray(values)})
    bar = {"title": {"text": escape(objective.metric)}, "thickness": 12}
    figure.add_parcoords(
        dimensions=dimensions,
        line={
            "color": np.asarray(values),
            "colorscale": _SCALE,
            "showscale": not narrow,
            "reversescale": objective.better == "min",
            "colorbar": bar,
        },
        labelfont={"color": TEXT, "size": 12},
        tickfont={"color": TEXT, "size": 10},
        rangefont={"color": TRIAL, "size": 9},
        unselected={"line": {"color": GRID, "opacity": 0.3}},
    )
    figure.update_layout(margin={"l": 70, "r": 44 if narrow else 24, "t": 56, "b": 32})
    return figure


def importance_figure(shares: Mapping[str, float], title: str, letters: int = 44) -> go.Figure:
    """Draw the importance of choices, the largest on top; shares add to 1 or less. Names have at most `letters`."""
    names = sorted(shares, key=lambda name: shares[name])
    height = max(180, 60 + 24 * len(names))
    figure = go.Figure(layout=layout(height) | {"template": "none", "uirevision": "importance"})
    figure.add_bar(
        x=[shares[name] for name in names],
        y=[_cut(name, letters) for name in names],
        orientation="h",
        marker={"color": FRONT},
        hovertemplate="%{y}: %{x:.1%}<extra></extra>",
    )
    figure.update_xaxes(axis(title, []), tickformat=".0%")
    figure.update_yaxes(axis("", []))
    return figure


def effect_figure(groups: Mapping[str, Sequence[float]], choice: str, objective: Objective) -> go.Figure:
    """Draw the objective's distribution for each value of one choice; a point is a trial, the line the median."""
    figure = go.Figure(layout=layout(380) | {"template": "none", "uirevision": choice})
    for name, values in groups.items():
        figure.add_box(
            y=list(values),
            name=_cut(name, 24),
            boxpoints="all" if len(values) <= 200 else "outliers",
            jitter=0.4,
            pointpos=0,
            marker={"color": FRONT, "size": 5, "opacity": 0.8},
            line={"color": TRIAL, "width": 1.5},
            fillcolor="rgba(0,0,0,0)",
            showlegend=False,
            hoverinfo="y+name",
        )
    figure.update_xaxes(axis(choice, []), type="category")
    figure.update_yaxes(axis(objective.metric, [value for values in groups.values() for value in values], plain=True))
    return figure


def _cut(text: str, most: int) -> str:
    """Shorten a label from the left: the end of a path tells more than its beginning."""
    return escape(text if len(text) <= most else "\u2026" + text[1 - most :])
