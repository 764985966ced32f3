"""The parts pages are made of: sections, tables, figures, tiles, links."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import plotly.graph_objects as go
from dash import dcc, html

from nas.dashboard.address import Address
from nas.dashboard.table import Table
from nas.dashboard.view import Look
from nas.figures import darkened

_WIDE_EDGE = 24
"""Pixels right of a figure that a small screen can do without; what has more needs it."""
_CONFIG: dict[str, Any] = {
    "displaylogo": False,
    "responsive": True,
    "modeBarButtonsToRemove": ["autoScale2d"],
    "toImageButtonOptions": {"format": "png", "scale": 2, "filename": "nas"},
}


def aria(label: str) -> Any:
    """Return the attribute that names an element to those who cannot see it."""
    return {"aria-label": label}


def section(title: str, *parts: Any, note: str = "", key: str = "") -> html.Section:
    """Return a part of a page with a heading and a sentence about it."""
    head: list[Any] = [html.H2(title)]
    if note:
        head.append(html.P(note, className="note"))
    return html.Section([*head, *(part for part in parts if part is not None)], id=key or _slug(title))


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def figure(name: str, drawn: go.Figure, label: str, look: Look, *, select: bool = False) -> html.Div:
    """Return a figure; `label` says to those who cannot see it what it shows, and where the numbers stand."""
    if look.narrow and (drawn.to_plotly_json()["layout"]["margin"].get("r") or 0) <= _WIDE_EDGE:
        drawn.update_layout(margin={"r": 6})
    if select:
        drawn.update_layout(newselection={"line": {"dash": "dot"}})
    config: Any = _CONFIG | {"displayModeBar": False if look.narrow else "hover"}
    config |= {"modeBarButtonsToAdd": ["select2d"], "doubleClick": "autosize"} if select else {}
    graph = dcc.Graph(
        id=f"plot-{name}",
        figure=darkened(drawn) if look.dark else drawn,
        config=config,
        responsive=True,
        style={"height": f"{drawn.to_plotly_json()['layout']['height']}px"},
    )
    return html.Div(graph, className="figure", id=f"figure-{name}", role="group", **aria(label))


def table(
    shown: Table,
    address: Address | None = None,
    *,
    caption: str,
    rows: int = 25,
    cells: Sequence[Sequence[Any]] = (),
    empty: str = "Nothing here yet.",
) -> html.Div:
    """Return a table a page at a time, with the ways to take it home.

    cells:  what to show in place of the plain text, row by row from the first, where a cell needs more.
    """
    if not shown.rows:
        return html.Div(html.P(empty, className="empty"))
    count = len(shown.rows) if shown.total is None else shown.total
    last = max(0, (count - 1) // rows)
    wanted = int((address.number("page") or 0) if address else 0) if shown.total is None else shown.start // rows
    page = min(max(wanted, 0), last)
    first = page * rows if shown.total is None else 0
    head = html.Thead(html.Tr([html.Th(column.name, scope="col") for column in shown.columns]))
    body = [
        _row(shown, index, cells[index] if index < len(cells) else ())
        for index in range(first, min(first + rows, len(shown.rows)))
    ]
    parts: list[Any] = [
        html.Div(
            html.Table([html.Caption(caption), head, html.Tbody(body)]),
            className="wide",
            tabIndex="0",
            role="region",
            **aria(caption),
        )
    ]
    if address is not None:
        parts.append(_foot(shown, address, page, last, count))
    return html.Div(parts, className="table")


def _row(shown: Table, index: int, cells: Sequence[Any]) -> html.Tr:
    made: list[Any] = []
    for position, (value, column) in enumerate(zip(shown.rows[index], shown.columns, strict=True)):
        content: Any = cells[position] if position < len(cells) else None
        if content is None:
            content = shown.shown(value, column)
            if position == 0 and shown.links:
                content = dcc.Link(content, href=shown.links[index])
        style = "words" if column.long else "number" if column.unit else ""
        made.append(
            html.Th(content, scope="row", className=style) if position == 0 else html.Td(content, className=style)
        )
    return html.Tr(made)


def _foot(shown: Table, address: Address, page: int, last: int, count: int) -> html.Div:
    search = address.changed(page=None).search
    parts: list[Any] = [html.Span(f"{count:,} row{'s' if count != 1 else ''}")]
    if last:
        parts.append(html.Span(f"page {page + 1} of {last + 1}"))
    if page > 0:
        parts.append(dcc.Link("previous", href=address.changed(page=str(page - 1)).href))
    if page < last:
        parts.append(dcc.Link("next", href=address.changed(page=str(page + 1)).href))
    where = f"/table/{'/'.join(quote(part, safe='') for part in (shown.name, *address.path[1:]))}"
    parts += [html.A(kind.upper(), href=f"{where}.{kind}{search}", download="") for kind in ("csv", "json")]
    return html.Div(parts, className="foot")


def tiles(facts: Sequence[tuple[str, str]]) -> html.Div:
    """Return numbers with their words."""
    return html.Div(
        [html.Div([html.B(value), html.Span(breakable(words))]) for value, words in facts], className="tiles"
    )


def breakable(name: str) -> str:
    """Return a name that may go on in the next line after an underscore."""
    return name.replace("_", "_\u200b")


def facts(pairs: Sequence[tuple[str, Any]]) -> html.Dl:
    """Return names with what they stand for."""
    return html.Dl([part for name, value in pairs for part in (html.Dt(name), html.Dd(value))])


def notice(text: str) -> html.P:
    """Return a sentence that stands out."""
    return html.P(text, className="notice", role="status")


def progress(done: int, whole: int, label: str) -> html.Progress:
    """Return a bar."""
    return html.Progress(value=str(min(done, whole)), max=str(max(whole, 1)), **aria(label))
