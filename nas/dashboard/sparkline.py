"""A line the height of a word."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from dash import html

_WIDTH, _HEIGHT = 110, 24


def sparkline(x: Sequence[float], y: Sequence[float], words: str) -> html.Img:
    """Return a step line as a picture; `words` say what it shows to those who cannot see it."""
    return html.Img(src=f"data:image/svg+xml,{quote(svg(x, y))}", alt=words, title=words, className="spark")


def svg(x: Sequence[float], y: Sequence[float]) -> str:
    """Return a step line as SVG; its colour stands out on light and on dark."""
    low, high, first, last = min(y), max(y), min(x), max(x)
    across = [2 + (value - first) / ((last - first) or 1) * (_WIDTH - 4) for value in x]
    up = [_HEIGHT - 3 - (value - low) / ((high - low) or 1) * (_HEIGHT - 6) for value in y]
    path = f"M{across[0]:.1f} {up[0]:.1f}" + "".join(
        f"H{a:.1f}V{b:.1f}" for a, b in zip(across[1:], up[1:], strict=True)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}">'
        f'<path d="{path}" fill="none" stroke="#3b8fc4" stroke-width="2"/></svg>'
    )
