"""How the front grew: the volume it dominates, trial by trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import plotly.graph_objects as go

from nas.figures.style import STUDIES, axis, layout


def hypervolume_figure(growth: Mapping[str, tuple[Sequence[int], Sequence[float]]]) -> go.Figure:
    """Draw for each study the (trial numbers, volumes) at which its front grew; a volume of 1 is the best seen."""
    figure = go.Figure(layout=layout(320) | {"template": "none", "uirevision": "hypervolume"})
    for index, (study, (numbers, volumes)) in enumerate(growth.items()):
        figure.add_scatter(
            x=list(numbers),
            y=list(volumes),
            mode="lines",
            name=escape(study),
            showlegend=len(growth) > 1,
            line={
                "color": STUDIES[index % len(STUDIES)],
                "width": 2,
                "shape": "hv",
                "dash": ("solid", "dash", "dot")[index % 3],
            },
            hovertemplate="trial %{x}: %{y:.4f}<extra></extra>",
        )
    figure.update_xaxes(axis("trial", []))
    figure.update_yaxes(axis("hypervolume", []), rangemode="tozero")
    return figure
