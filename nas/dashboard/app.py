"""The dashboard as a WSGI application: one callback that draws the page an address names, one that keeps notes.

What is live: the browser asks for the pulse every second, and has the page drawn anew when it has changed. Figures carry
a revision, so that zoom and selection stay; controls keep the focus, as the elements stay the same.
"""

from __future__ import annotations

import json
import logging
import secrets
from typing import Any

from dash import ALL, ClientsideFunction, Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.exceptions import PreventUpdate

from nas.dashboard import components, downloads, guard
from nas.dashboard.address import Address, link
from nas.dashboard.elements import notice
from nas.dashboard.guard import Guard
from nas.dashboard.pages import PAGES
from nas.dashboard.queries import Queries
from nas.dashboard.view import Look, Page, View
from space.errors import NasError

_INDEX = """<!DOCTYPE html>
<html lang="en">
<head>{%metas%}<title>nas</title><link rel="icon" href="data:,">{%css%}</head>
<body>
<a class="skip" href="#page">Skip to the page</a>
{%app_entry%}
<footer>{%config%}{%scripts%}{%renderer%}</footer>
</body>
</html>"""
_MOST_NOTE, _MOST_TAGS = 4000, 20


def create_app(queries: Queries, keeper: Guard | None = None) -> Dash:
    """Return the application over these answers; its WSGI form is `.server`. `keeper` decides who may look."""
    keeper = keeper or Guard()
    app = Dash(
        "nas.dashboard",
        assets_folder="assets",
        serve_locally=True,
        suppress_callback_exceptions=True,
        title="nas",
        update_title="",
        index_string=_INDEX,
        meta_tags=[{"name": "viewport", "content": "width=device-width, initial-scale=1"}],
        csrf_token_name=keeper.csrf_cookie,
        enable_mcp=False,
    )
    # made for each visitor, so that the pulse is not newer than the page
    app.layout = lambda: _layout(queries)
    _callbacks(app, queries)
    guard.install(app.server, keeper, lambda: list(app.csp_hashes()))
    downloads.install(app.server, queries, secrets.token_hex(4))
    return app


def _layout(queries: Queries) -> html.Div:
    links = [dcc.Link(words, href=link(*path)) for words, path in (("Studies", ()), ("Front", ("front",)), ("Compare", ("compare",)))]
    return html.Div(
        [
            dcc.Location(id="address", refresh=False),
            dcc.Store(id="pulse", data=queries.pulse()),
            dcc.Store(id="look"),
            dcc.Store(id="title"),
            html.Header(
                [
                    dcc.Link("nas", href="/", className="brand"),
                    html.Nav(links, **{"aria-label": "pages"}),
                    html.Span(queries.store.url, className="store", title="the store"),
                    html.Button("Theme", id="theme", title="light, dark, or as the system has it"),
                ]
            ),
            html.P("", id="lost", className="notice", role="status"),
            html.Main(html.P("Loading ...", className="empty"), id="page", tabIndex="-1"),
        ]
    )


def _callbacks(app: Dash, queries: Queries) -> None:
    app.clientside_callback(
        ClientsideFunction("nas", "look"),
        Output("look", "data"),
        Input("address", "pathname"),
        State("pulse", "data"),
        State("look", "data"),
    )
    for name, given in {
        "title": Input("title", "data"),
        "theme": Input("theme", "n_clicks"),
        "clicked": Input({"plot": ALL}, "clickData"),
        "brushed": Input({"plot": ALL}, "selectedData"),
    }.items():
        app.clientside_callback(ClientsideFunction("nas", name), given)

    @app.callback(
        Output("page", "children"),
        Output("title", "data"),
        Input("address", "pathname"),
        Input("address", "search"),
        Input("look", "data"),
        Input("pulse", "data"),
    )
    def show(pathname: str | None, search: str | None, look: dict[str, Any] | None, _: str | None) -> Any:
        if look is None:
            raise PreventUpdate
        page = drawn(View(queries, Address.parse(pathname, search), Look(bool(look.get("dark")), bool(look.get("narrow")))))
        head = [notice(queries.notice)] if queries.notice else []
        return [*head, *page.parts], page.title

    @app.callback(
        Output({"noted": ALL}, "children"), Input({"note": ALL}, "wish"), State({"note": ALL}, "id"), prevent_initial_call=True
    )
    def keep(wishes: list[Any], ids: list[Any]) -> Any:
        if not ctx.triggered or not any(wishes):
            return [no_update] * len(wishes)
        return [_noted(queries, wish, each["note"]) if wish else no_update for wish, each in zip(wishes, ids, strict=True)]


def drawn(view: View) -> Page:
    """Draw the page that an address names; what goes wrong is a page too."""
    draw = PAGES.get(view.address.page)
    if draw is None:
        words = f"There is no page {'/' + '/'.join(view.address.path)!r}."
        return Page("Not found", [html.H1("Not found"), html.P(words), dcc.Link("All studies", href="/")])
    try:
        return draw(view)
    except NasError as error:
        return Page("Cannot show this", [html.H1("Cannot show this"), notice(str(error)), dcc.Link("All studies", href="/")])
    except Exception:
        logging.getLogger(__name__).exception("page %s", view.address.href)
        words = "A defect of the dashboard; the terminal it was started in shows where."
        return Page("Defect", [html.H1("This page broke"), html.P(words, className="notice", role="alert")])


def _noted(queries: Queries, wish: dict[str, Any], subject: str) -> str:
    """Keep a note; the words say what happened."""
    study, number = json.loads(subject)
    tags = [tag.strip()[:60] for tag in str(wish.get("tags", "")).split(",")]
    try:
        queries.annotate(
            str(study),
            int(number),
            note=str(wish.get("note", ""))[:_MOST_NOTE],
            tags=tuple(dict.fromkeys(tag for tag in tags if tag))[:_MOST_TAGS],
            hidden=bool(wish.get("hidden")),
        )
    except NasError as error:
        return f"not kept: {error}"
    return "kept"


__all__ = ["components", "create_app", "drawn"]
