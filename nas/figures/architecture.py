"""A network as boxes: width means channels, height means resolution, depth means blocks; colour and sign the mixer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import plotly.graph_objects as go

from nas.figures.style import FRONT, GREEN, HOVER, MODEL, PINK, SKY, TEXT, TRIAL, YELLOW, layout, wrapped

_KINDS: dict[str, tuple[str, str]] = {
    "identity": (TRIAL, "="),
    "none": (TRIAL, "="),
    "pool": (TRIAL, "\u25a6"),
    "random_mixing": (TRIAL, "\u2248"),
    "depthwise_conv": (FRONT, "\u25a3"),
    "separable_conv": (FRONT, "\u25a4"),
    "inception_depthwise": (FRONT, "\u271b"),
    "reparam_large_kernel": (GREEN, "\u25a2"),
    "dilated_reparam": (GREEN, "\u2237"),
    "band_kernels": (GREEN, "\u256c"),
    "projected": (GREEN, "\u21c9"),
    "gated": (PINK, "\u2297"),
    "attention": (MODEL, "\u2736"),
    "deformable": (YELLOW, "\u25c7"),
    "selective_scan": (SKY, "\u21dd"),
    "mamba": (SKY, "\u21db"),
    "s4d": (SKY, "\u223f"),
}
"""Colour of the family of operators and sign of the operator; what is not listed is grey with a dot."""
_SLANT = 0.55
"""Tangent of the angle at which depth runs back."""
_GAP = 0.55


@dataclass(frozen=True)
class StageDrawing:
    """A stage as it is drawn."""

    name: str
    width: int
    """Channels."""
    size: tuple[int, int]
    """Height and width of its maps in pixels."""
    depth: int
    """Blocks."""
    mixers: tuple[str, ...]
    """Kinds of the token mixers of the pattern."""
    gates: tuple[str, ...]
    """Kinds of the gates, of those that have one."""
    fields: tuple[str, ...]
    """All that the stage says, one field a line."""


@dataclass(frozen=True)
class ArchitectureDrawing:
    """A network as it is drawn, for images of `resolution` px."""

    name: str
    resolution: int
    stem: str
    head: str
    stages: tuple[StageDrawing, ...]


def architecture_figure(
    drawing: ArchitectureDrawing, fellows: Sequence[ArchitectureDrawing] = (), height: int = 330
) -> go.Figure:
    """Draw a network; boxes of `fellows` and of this one are to the same scale."""
    figure = go.Figure(layout=layout(height) | {"template": "none", "hoverdistance": 60, "dragmode": False})
    stages = [stage for each in (drawing, *fellows) for stage in each.stages]
    scale = _Scale(
        max(stage.width for stage in stages), max(max(s.size) for s in stages), max(stage.depth for stage in stages)
    )
    shown: set[str] = set()
    place = _plate(figure, "stem", drawing.stem, 0.0)
    for stage in drawing.stages:
        place = _box(figure, stage, scale, place + _GAP, shown)
    _plate(figure, "head", drawing.head, place + _GAP)
    hidden = {"visible": False, "fixedrange": True}
    figure.update_xaxes(hidden, range=[-0.2, max(place + _GAP + 0.5, 5.0)])
    figure.update_yaxes(hidden, range=[-1.15, 2.3])
    figure.update_layout(margin={"l": 8, "r": 8, "t": 40, "b": 8}, showlegend=True)
    return figure


@dataclass(frozen=True)
class _Scale:
    width: int
    size: int
    depth: int

    def box(self, stage: StageDrawing) -> tuple[float, float, float]:
        """Return width, height and depth of the box: square roots, so that small and large stages can be seen."""
        wide = 0.25 + 0.6 * math.sqrt(stage.width / self.width)
        high = 0.3 + 1.0 * math.sqrt(max(stage.size) / self.size)
        deep = 0.1 + 0.5 * math.sqrt(stage.depth / self.depth)
        return wide, high, deep


def _box(figure: go.Figure, stage: StageDrawing, scale: _Scale, left: float, shown: set[str]) -> float:
    wide, high, deep = scale.box(stage)
    kind = stage.mixers[0]
    colour, sign = _KINDS.get(kind, (TRIAL, "\u25cf"))
    back, up = deep, deep * _SLANT
    front = [(0, 0), (wide, 0), (wide, high), (0, high)]
    top = [(0, high), (wide, high), (wide + back, high + up), (back, high + up)]
    side = [(wide, 0), (wide + back, up), (wide + back, high + up), (wide, high)]
    label = " + ".join(stage.mixers) + (f" by {', '.join(stage.gates)}" if stage.gates else "")
    for face, opacity in ((top, 0.55), (side, 0.75), (front, 1.0)):
        _face(figure, face, left, colour, opacity)
    ticks: list[float | None] = []
    heights: list[float | None] = []
    for block in range(1, min(stage.depth, 24)):
        part = block / min(stage.depth, 24)
        ticks += [left + part * back, left + wide + part * back, left + wide + part * back, None]
        heights += [high + part * up, high + part * up, part * up, None]
    figure.add_scatter(
        x=ticks, y=heights, mode="lines", line={"color": HOVER, "width": 0.8}, hoverinfo="skip", showlegend=False
    )
    _label(figure, stage, left + wide / 2, high / 2, sign)
    if label not in shown:
        shown.add(label)
        marker = {"symbol": "square", "color": colour, "size": 12}
        figure.add_scatter(x=[None], y=[None], mode="markers", name=escape(f"{sign} {label}"), marker=marker)
    return left + wide + back


def _label(figure: go.Figure, stage: StageDrawing, x: float, y: float, sign: str) -> None:
    hover = "<br>".join(
        [f"<b>{escape(stage.name)}</b>", *(line for text in stage.fields for line in wrapped(text, 60))]
    )
    figure.add_scatter(
        x=[x],
        y=[y],
        mode="markers+text",
        text=[sign + (" \u2297" if stage.gates and sign != "\u2297" else "")],
        textfont={"size": 18, "color": HOVER},
        marker={"size": 40, "opacity": 0.0, "color": HOVER},
        hovertext=[hover],
        hovertemplate="%{hovertext}<extra></extra>",
        showlegend=False,
    )
    words = f"<b>{stage.width}</b> ch<br>{stage.size[0]}\u00d7{stage.size[1]} px<br>{stage.depth} block"
    figure.add_annotation(
        x=x, y=-0.08, text=words + "s" * (stage.depth != 1), showarrow=False, yanchor="top", font={"size": 11}
    )


def _plate(figure: go.Figure, name: str, words: str, left: float) -> float:
    _face(figure, [(0, 0), (0.14, 0), (0.14, 1.3), (0, 1.3)], left, TEXT, 0.35)
    figure.add_scatter(
        x=[left + 0.07],
        y=[0.65],
        mode="markers",
        marker={"size": 30, "opacity": 0.0, "color": TEXT},
        hovertext=["<br>".join([f"<b>{name}</b>", *wrapped(words)])],
        hovertemplate="%{hovertext}<extra></extra>",
        showlegend=False,
    )
    figure.add_annotation(x=left + 0.07, y=-0.08, text=name, showarrow=False, yanchor="top", font={"size": 11})
    return left + 0.14


def _face(figure: go.Figure, corners: Sequence[tuple[float, float]], left: float, colour: str, opacity: float) -> None:
    closed: list[Any] = [*corners, corners[0]]
    figure.add_scatter(
        x=[left + x for x, _ in closed],
        y=[y for _, y in closed],
        mode="lines",
        fill="toself",
        fillcolor=colour,
        opacity=opacity,
        line={"color": HOVER, "width": 1},
        hoverinfo="skip",
        showlegend=False,
    )
