"""The page that a browser asks for first, with its words and figures inside: it is read before any script has run.

Dash sends an empty page, whose scripts ask for the layout, then for the page. Here both come with the first answer: as
HTML to read, and as the values that the scripts then draw, where the look that was guessed proves right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import quote

from dash import Dash
from flask import request
from plotly.io.json import to_json_plotly

from nas.dashboard.markup import markup
from nas.dashboard.view import Look

LOOK_COOKIE = "nas_look"
"""Holds how the visitor looks at it, as `assets/nas.js` wrote it: dark or light, narrow or wide."""
PLOTLY = "/_dash-component-suites/plotly/package_data/plotly.min.js"
_GRAPH = "/_dash-component-suites/dash/dcc/async-graph.js"

_INDEX = """<!DOCTYPE html>
<html lang="en"{%theme%}>
<head>{%metas%}<title>{%title%}</title><link rel="icon" href="data:,">{%css%}{%early%}</head>
<body>
<a class="skip" href="#page">Skip to the page</a>
{%app_entry%}
<footer>{%config%}{%scripts%}{%renderer%}</footer>
</body>
</html>"""


@dataclass(frozen=True)
class First:
    """What a visitor sees first."""

    title: str
    header: Any
    tree: list[Any]
    look: Look
    pulse: str
    """As of before the page was drawn."""


class FirstPageDash(Dash):
    """Dash whose first answer holds the page; `first` draws it from path, search and look."""

    first: Callable[[str, str, Look], First]

    def interpolate_index(
        self,
        metas: str = "",
        title: str = "",
        css: str = "",
        config: str = "",
        scripts: str = "",
        app_entry: str = "",
        favicon: str = "",
        renderer: str = "",
    ) -> str:
        """Return the HTML of the address that is asked for."""
        path, search = quote(request.path, safe="/:@!$&'()*+,;=~"), request.query_string.decode("latin-1")
        search = f"?{search}" if search else ""
        first = self.first(path, search, _look(request.cookies.get(LOOK_COOKIE, "")))
        parts = {"metas": metas, "css": css, "config": config, "scripts": scripts, "renderer": renderer}
        parts |= {
            "title": escape(f"{first.title} - nas"),
            "theme": _theme(first.look) if LOOK_COOKIE in request.cookies else "",
            "app_entry": _entry(first, path, search),
            "early": _early(first.tree),
        }
        return _filled(parts)


def _theme(look: Look) -> str:
    return f' data-theme="{"dark" if look.dark else "light"}"'


def _filled(parts: dict[str, str]) -> str:
    """Return the page; what stands in a part is never taken for the place of another."""
    pieces = _INDEX.split("{%")
    out = [pieces[0]]
    for piece in pieces[1:]:
        name, _, rest = piece.partition("%}")
        out += [parts[name], rest]
    return "".join(out)


def _look(text: str) -> Look:
    scheme, _, width = text.partition("-")
    return Look(dark=scheme == "dark", narrow=width == "narrow")


def _entry(first: First, path: str, search: str) -> str:
    values = {
        "tree": first.tree,
        "title": first.title,
        "place": path,
        "search": search,
        "look": {"dark": first.look.dark, "narrow": first.look.narrow},
        "pulse": first.pulse,
    }
    json = str(to_json_plotly(values)).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return (
        f'<div id="first">{markup(first.header)}<main>{markup(first.tree)}</main></div>'
        f'<script id="first-page" type="application/json">{json}</script>'
        '<div id="react-entry-point"></div>'
    )


def _early(tree: Any) -> str:
    """Return what lets the browser fetch and read Plotly while it starts the rest."""
    if not _has_graph(tree):
        return ""
    return f'<link rel="preload" as="script" href="{_GRAPH}"><script id="plotly" async src="{PLOTLY}"></script>'


def _has_graph(node: Any) -> bool:
    if isinstance(node, (list, tuple)):
        return any(map(_has_graph, node))
    children = getattr(node, "children", None)
    return getattr(node, "_type", "") == "Graph" or (children is not None and _has_graph(children))
