"""Open the store for looking, and serve the dashboard until it is stopped."""

from __future__ import annotations

import gc
import ipaddress
import os
import secrets
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from nas.dashboard.guard import LEAST_TOKEN, LOOPBACK
from nas.dashboard.queries import Queries
from space.errors import NasError
from trials.engine import connect
from trials.migrations import known_versions, stored_version
from trials.store import Store

TOKEN_VARIABLE = "NAS_DASHBOARD_TOKEN"
THREADS = 6
_HEAD_START = 4.0
"""Seconds for which the address is kept back at most while the newest study is read."""


@contextmanager
def opened(url: str | Path | None) -> Iterator[Queries]:
    """Yield the answers from a store; an older SQLite file is copied and the copy migrated.

    Raises:  StoreError where the store is missing, newer, out of reach, or older and of a server.
    """
    from trials.store import DEFAULT_PATH

    target = url if url is not None else os.environ.get("NAS_STORE") or DEFAULT_PATH
    database = connect(target, create=False, read_only=True)
    try:
        with database.read() as connection:
            version = stored_version(connection)
    finally:
        database.close()
    if database.path is None or version is None or version not in known_versions()[:-1]:
        with Store.open(target, create=False, read_only=True) as store:
            yield Queries(store, lambda: Store.open(target, create=False))
        return
    folder = Path(tempfile.mkdtemp(prefix="nas-dashboard-"))
    try:
        copy = copied(database.path, folder)
        words = (
            f"{database.label} is of an older version ({version}) and was not touched: this is a copy as of now, so "
            "nothing new appears and notes cannot be kept. Any command that writes to the store migrates it."
        )
        Store.open(copy, create=False).close()
        with Store.open(copy, create=False, read_only=True) as store:
            store.url = database.label
            yield Queries(store, None, words)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def copied(path: Path, folder: Path) -> Path:
    """Copy a SQLite file as of one moment, whoever writes to it meanwhile, and return the copy."""
    copy = folder / path.name
    with (
        closing(sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro", uri=True)) as source,
        closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target)
    return copy


@dataclass(frozen=True)
class Place:
    """Where to listen, and what visitors must show."""

    host: str
    port: int
    token: str | None

    @property
    def url(self) -> str:
        """The address to open in a browser."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/" + (f"?token={quote(self.token)}" if self.token else "")


def place(host: str, port: int) -> Place:
    """Return where to listen: without a token on the loopback address, with one anywhere else.

    Raises:  NasError where the given token is too short to be one.
    """
    if _loopback(host):
        return Place(host, port, None)
    token = os.environ.get(TOKEN_VARIABLE) or secrets.token_urlsafe(24)
    if len(token) < LEAST_TOKEN:
        raise NasError(f"{TOKEN_VARIABLE}: {len(token)} characters, at least {LEAST_TOKEN} are needed")
    return Place(host, port, token)


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in LOOPBACK


def serve(queries: Queries, where: Place, ready: Callable[[Place], None]) -> None:
    """Serve until interrupted; `ready` is called with the address once it answers.

    Raises:  NasError where the address cannot be listened on.
    """
    from waitress.server import create_server

    from nas.dashboard.app import create_app
    from nas.dashboard.guard import Guard

    app = create_app(queries, Guard(where.token, where.port))
    # only now: two threads that import Plotly and what it looks for at once see each other's halves
    warm = threading.Thread(target=warm_up, args=(queries,), name="warm up", daemon=True)
    warm.start()
    try:
        server = create_server(
            app.server, host=where.host, port=where.port, threads=THREADS, ident=None, channel_timeout=60
        )
    except (OSError, ValueError) as error:
        raise NasError(
            f"{where.host}:{where.port}: {getattr(error, 'strerror', None) or error}; try another --port"
        ) from None
    warm.join(_HEAD_START)
    chosen = getattr(server, "effective_port", where.port)
    ready(Place(where.host, int(chosen), where.token))
    try:
        server.run()
    finally:
        server.close()


def warm_up(queries: Queries) -> None:
    """Do before the first visitor comes what takes seconds: read the newest study, draw its front and a network."""
    import plotly.graph_objects as figures

    from nas.dashboard.address import Address
    from nas.dashboard.app import drawn
    from nas.dashboard.first_page import Look
    from nas.dashboard.view import View

    networks = [f"/network/{quote(summary.name)}/0" for summary in queries.studies()[:1]]
    for page in ("/", "/front", *networks):
        drawn(View(queries, Address.parse(page, ""), Look()))
    # Plotly imports what a figure needs when it is first drawn
    figures.Figure(figures.Scatter3d(x=[0], marker={"size": 1}), {"scene": {"xaxis": {"title": {"text": ""}}}})
    # else each full collection looks at all of it, for a quarter of a second in the middle of somebody's page
    gc.collect()
    gc.freeze()
