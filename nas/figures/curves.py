"""Learning curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from nas.figures.style import FRONT, TRIAL, axis, layout
from nas.front_table import unit_of
from nas.quantities import measured

_EACH = 12
"""Epochs up to which each has its mark."""


@dataclass(frozen=True)
class Curve:
    """What a trial reported epoch by epoch."""

    trial: int
    epochs: Sequence[int]
    values: Sequence[float | None]
    on_front: bool


def curves_figure(curves: Sequence[Curve], metric: str) -> go.Figure:
    """Draw a metric by epoch, trials on the front before the others."""
    figure = go.Figure(layout=layout(420))
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
    last = max((epoch for curve in curves for epoch in curve.epochs), default=0)
    figure.update_xaxes(axis("epoch", []), tickformat="d", dtick=1 if last <= _EACH else None)
    figure.update_yaxes(axis(metric, [], plain=True))
    return figure
