"""Where parameters and MACs go: the cost of each part of a network."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from nas.figures.style import FRONT, YELLOW, axis, layout
from nas.quantities import short


def stages_figure(parts: Sequence[str], params: Sequence[int], macs: Sequence[int]) -> go.Figure:
    """Draw the share of each part (stem, stages, head) in parameters and in MACs, side by side."""
    figure = go.Figure(layout=layout(300) | {"template": "none", "barmode": "group", "uirevision": "stages"})
    bars = (("parameters", params, FRONT, ""), ("MACs", macs, YELLOW, "/"))
    for name, numbers, colour, pattern in bars:
        total = sum(numbers) or 1
        figure.add_bar(
            x=list(parts),
            y=[number / total for number in numbers],
            name=f"{name}, {short(total)} in all",
            marker={"color": colour, "pattern": {"shape": pattern, "solidity": 0.6}},
            text=[short(number) for number in numbers],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{x}: %{text} (%{y:.1%})<extra></extra>",
        )
    figure.update_xaxes(axis("", []))
    figure.update_yaxes(axis("share", []), tickformat=".0%")
    return figure
