"""Zero-cost proxies against each other: how each one's order of networks agrees with that of their accuracies."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import plotly.graph_objects as go

from nas.figures.style import FRONT, GRID, STUDIES, SYMBOLS, TRIAL, layout
from nas.proxy_ranking import OVERALL, RankRow


def proxies_figure(rows: Sequence[RankRow]) -> go.Figure:
    """Draw Spearman's correlation of each ranking: overall with its interval, and in each band of MACs as a mark.

    One population; the first row stands at the top.
    """
    names = list(dict.fromkeys(row.proxy for row in rows))
    bands = list(dict.fromkeys(row.band for row in rows if row.band != OVERALL))
    figure = go.Figure(layout=layout(80 + 34 * len(names)))
    for index, band in enumerate(bands):
        part = [row for row in rows if row.band == band]
        colour = STUDIES[1 + index % (len(STUDIES) - 1)]
        marker = {"color": colour, "size": 8, "symbol": SYMBOLS[1 + index % (len(SYMBOLS) - 1)], "opacity": 0.8}
        _add(figure, part, f"{band} MACs", marker)
    _add(figure, [row for row in rows if row.band == OVERALL], "all networks", {"color": FRONT, "size": 11}, error=True)
    figure.add_vline(x=0, line={"color": TRIAL, "width": 1})
    figure.update_xaxes(
        range=[-1.02, 1.02], gridcolor=GRID, zeroline=False, title={"text": "Spearman's rank correlation"}
    )
    figure.update_yaxes(
        categoryorder="array", categoryarray=[escape(name) for name in reversed(names)], gridcolor=GRID, automargin=True
    )
    return figure


def _add(
    figure: go.Figure, rows: Sequence[RankRow], name: str, marker: dict[str, object], *, error: bool = False
) -> None:
    values = [row.spearman for row in rows]
    bars = {
        "type": "data",
        "symmetric": False,
        "array": [each.high - each.value for each in values],
        "arrayminus": [each.value - each.low for each in values],
        "color": FRONT,
        "thickness": 1.5,
    }
    figure.add_scatter(
        x=[each.value for each in values],
        y=[escape(row.proxy) for row in rows],
        error_x=bars if error else None,
        mode="markers",
        name=escape(name),
        marker=marker,
        text=[
            f"{escape(row.proxy)}, {escape(row.band)}: {row.networks} networks<br>rho {row.spearman.value:.2f} "
            f"({row.spearman.low:.2f} to {row.spearman.high:.2f}), tau {row.kendall.value:.2f}"
            for row in rows
        ],
        hovertemplate="%{text}<extra></extra>",
    )
