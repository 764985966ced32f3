"""The dashboard as a WSGI application: one callback that draws the page an address names, one that keeps notes.

What is live: the browser asks for the pulse every second, and has the page drawn anew when it has changed. Only what
differs changes in the browser: focus, zoom and half-written notes stay.
"""

from __future__ import annotations

import logging
import secrets
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.exceptions import PreventUpdate

from nas.dashboard import compression, downloads, guard
from nas.dashboard.address import Address, link
from nas.dashboard.components import PageHost
from nas.dashboard.elements import aria, notice
from nas.dashboard.first_page import First, FirstPageDash
from nas.dashboard.guard import Guard
from nas.dashboard.pages import PAGES
from nas.dashboard.queries import Queries
from nas.dashboard.view import Look, Page, View
from space.errors import NasError

_MOST_NOTE, _MOST_TAGS = 4000, 20


def create_app(queries: Queries, keeper: Guard | None = None) -> Dash:
    """Return the application over these answers; its WSGI form is `.server`. `keeper` decides who may look."""
    keeper = keeper or Guard()
    if find_spec("pandas"):
        # Plotly looks whether it is there, and must not see it while another thread is half through importing it
        import_module("pandas")
    app = FirstPageDash(
        "nas.dashboard",
        assets_folder="assets",
        serve_locally=True,
        title="nas",
        update_title="",
        meta_tags=[{"name": "viewport", "content": "width=device-width, initial-scale=1"}],
        csrf_token_name=keeper.csrf_cookie,
        enable_mcp=False,
    )
    # made for each visitor, so that the pulse is not newer than the page
    app.layout = lambda: _layout(queries)
    app.first = lambda path, search, look: _first(queries, path, search, look)
    _callbacks(app, queries)
    compression.install(app.server)
    guard.install(app.server, keeper, lambda: list(app.csp_hashes()))
    downloads.install(app.server, queries, secrets.token_hex(4))
    return app


def _header(queries: Queries) -> html.Header:
    links = [
        dcc.Link(words, href=link(*path))
        for words, path in (("Studies", ()), ("Front", ("front",)), ("Compare", ("compare",)))
    ]
    return html.Header(
        [
            dcc.Link("nas", href="/", className="brand"),
            html.Nav(links, **aria("pages")),
            html.Span(queries.store.url, className="store", title="the store"),
            html.Button("Theme", id="theme", title="light, dark, or as the system has it"),
        ]
    )


def _layout(queries: Queries) -> html.Div:
    return html.Div(
        [
            dcc.Location(id="address", refresh=False),
            dcc.Store(id="pulse", data=queries.pulse()),
            dcc.Store(id="look"),
            _header(queries),
            html.P("", id="lost", className="notice", role="status"),
            html.P("", id="kept", className="notice", role="status"),
            PageHost(id="page", tree=None, title="", place=""),
        ]
    )


def _first(queries: Queries, path: str, search: str, look: Look) -> First:
    pulse = queries.pulse()
    page = drawn(View(queries, Address.parse(path, search), look))
    return First(page.title, _header(queries), _tree(queries, page), look, pulse)


def _tree(queries: Queries, page: Page) -> list[Any]:
    return [*([notice(queries.notice)] if queries.notice else []), *page.parts]


def _callbacks(app: Dash, queries: Queries) -> None:
    app.clientside_callback(
        ClientsideFunction("nas", "look"),
        Output("look", "data"),
        Input("address", "pathname"),
        State("pulse", "data"),
        State("look", "data"),
    )
    app.clientside_callback(ClientsideFunction("nas", "theme"), Input("theme", "n_clicks"))

    @app.callback(
        Output("page", "tree"),
        Output("page", "title"),
        Output("page", "place"),
        Input("address", "pathname"),
        Input("address", "search"),
        Input("look", "data"),
        Input("pulse", "data"),
    )
    def show(pathname: str | None, search: str | None, look: dict[str, Any] | None, pulse: str | None) -> Any:
        if look is None:
            raise PreventUpdate
        if set(ctx.triggered_prop_ids) <= {"look.data"} and pulse and look.get("shown") == pulse:
            raise PreventUpdate  # it came with the first answer
        seen = Look(bool(look.get("dark")), bool(look.get("narrow")))
        page = drawn(View(queries, Address.parse(pathname, search), seen))
        return _tree(queries, page), page.title, pathname

    @app.callback(Output("kept", "children"), Input("page", "wish"), prevent_initial_call=True)
    def keep(wish: dict[str, Any] | None) -> Any:
        return _kept(queries, wish) if wish else no_update


def drawn(view: View) -> Page:
    """Draw the page that an address names; what goes wrong is a page too."""
    draw = PAGES.get(view.address.page)
    if draw is None:
        words = f"There is no page {'/' + '/'.join(view.address.path)!r}."
        return Page("Not found", [html.H1("Not found"), html.P(words), dcc.Link("All studies", href="/")])
    try:
        return draw(view)
    except NasError as error:
        return Page(
            "Cannot show this", [html.H1("Cannot show this"), notice(str(error)), dcc.Link("All studies", href="/")]
        )
    except Exception:
        logging.getLogger(__name__).exception("page %s", view.address.href)
        words = "A defect of the dashboard; the terminal it was started in shows where."
        return Page("Defect", [html.H1("This page broke"), html.P(words, className="notice", role="alert")])


def _kept(queries: Queries, wish: dict[str, Any]) -> str:
    """Keep a note; the words say what happened."""
    tags = [tag.strip()[:60] for tag in str(wish.get("tags", "")).split(",")]
    study, number = wish.get("study"), wish.get("number")
    if not isinstance(study, str) or not isinstance(number, int):
        return "not kept: of no trial"
    try:
        queries.annotate(
            study,
            number,
            note=str(wish.get("note", ""))[:_MOST_NOTE],
            tags=tuple(dict.fromkeys(tag for tag in tags if tag))[:_MOST_TAGS],
            hidden=bool(wish.get("hidden")),
        )
    except NasError as error:
        return f"not kept: {error}"
    return f"note of {study}:{number} kept"
