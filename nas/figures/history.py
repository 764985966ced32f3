"""The only objective of a study, trial by trial."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from nas.figures.front import Dot, dot_hover
from nas.figures.style import FRONT, TRIAL, axis, layout
from nas.objective import Objective


def history_figure(dots: Sequence[Dot], y: Objective) -> go.Figure:
    """Draw the only objective by trial number, with the best so far as a step line."""
    figure = go.Figure(layout=layout(460))
    ordered = sorted(dots, key=lambda dot: dot.trial)
    pick, best = (max if y.better == "max" else min), list[float]()
    for dot in ordered:
        best.append(pick([*best[-1:], dot.values[y.metric]]))
    numbers = [dot.trial for dot in ordered]
    hover = [dot_hover(dot, [y.metric]) for dot in ordered]
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
    figure.update_xaxes(axis("trial", []))
    figure.update_yaxes(axis(y.metric, best, plain=True))
    return figure
