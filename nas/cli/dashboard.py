"""nas dashboard: look at a store in the browser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.options import StoreOption, examples
from nas.cli.output import say

if TYPE_CHECKING:
    from nas.dashboard.serving import Place

HostOption = Annotated[
    str, typer.Option("--host", metavar="HOST", help="Where to listen; anything but this machine asks for a token.")
]
PortOption = Annotated[int, typer.Option("--port", metavar="PORT", min=0, max=65535, help="0: any free one.")]


def register(app: typer.Typer) -> None:
    """Add the command of this file to the command line."""
    app.command(
        short_help="Look at studies, fronts and networks in the browser.",
        epilog=examples(
            "nas dashboard",
            "nas dashboard --store postgresql+psycopg://me@host/nas --port 9000",
            "nas dashboard --host 0.0.0.0           prints an address with a token ($NAS_DASHBOARD_TOKEN sets it)",
        ),
    )(dashboard)


def dashboard(host: HostOption = "127.0.0.1", port: PortOption = 8050, store: StoreOption = None) -> None:
    """Look at a store in the browser: studies, fronts, networks, live while searches run; Ctrl-C stops it."""
    from nas.dashboard.serving import opened, place, serve

    where = place(host, port)

    def ready(found: Place) -> None:
        say(f"dashboard of {queries.store.url}: {found.url} (Ctrl-C stops it)")
        if queries.notice:
            say(queries.notice)

    with opened(store) as queries:
        serve(queries, where, ready)
