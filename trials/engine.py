"""Connections to the store's database: opening, transactions and the words for what goes wrong.

One `Database` is one SQLite file (WAL) or one PostgreSQL database. A writing transaction takes its lock at once
(BEGIN IMMEDIATE), because in WAL mode a reader that turns writer fails with "database is locked" whatever the timeout.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from space.errors import nearest
from trials.rows import StoreError

BUSY_SECONDS = 30.0
"""How long a process waits for another one's write to end."""

_SCHEMES = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}

_WORDS = {
    "disk is full": "the disk is full, nothing was written; free some space and go on",
    "readonly database": "read-only, writing was asked for",
    "not a database": "not a SQLite database",
    "unable to open database file": "cannot be opened; allowed are readable files in writable folders",
    "database is locked": f"another process has been writing for {BUSY_SECONDS:.0f} s",
    "disk i/o error": "the disk failed to read or write",
    "malformed": "the file is damaged",
}


@dataclass(frozen=True)
class Database:
    """An open database and how to name it in messages (never with a password)."""

    engine: Engine
    label: str
    path: Path | None
    """The SQLite file, None for a server."""
    read_only: bool

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a connection that sees one moment of the database."""
        with told(self.label), self.engine.connect() as connection:
            if self.path is None:
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Yield a connection in one transaction: all of it is stored on leaving, or nothing."""
        if self.read_only:
            raise StoreError(f"store {self.label}: opened read-only, writing was asked for")
        with told(self.label), self.engine.connect().execution_options(writing=True) as connection, connection.begin():
            yield connection

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


@contextmanager
def told(label: str) -> Iterator[None]:
    """Turn whatever the database throws into a StoreError of one line."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, OSError, OverflowError) as error:
        raise StoreError(f"store {label}: {_words(error)}") from error


def _words(error: BaseException) -> str:
    cause = getattr(error, "orig", None) or error
    text = " ".join(str(cause).split())
    for sign, words in _WORDS.items():
        if sign in text.lower():
            return words
    text = re.sub(r"(?i)(password\s*=\s*)\S+", r"\1***", text)
    return (text[:300] + " ..." if len(text) > 300 else text) or type(cause).__name__


def connect(target: str | Path, *, create: bool, read_only: bool) -> Database:
    """Open the database at a path or SQLAlchemy URL; nothing is read from it yet.

    Raises:  StoreError if the URL is of an unknown kind, the driver is missing, or there is no file and `create` is
             False.
    """
    url = _url(target)
    if url.drivername == "sqlite":
        return _sqlite(url, create=create, read_only=read_only)
    return _postgresql(url, read_only=read_only)


def _url(target: str | Path) -> URL:
    if isinstance(target, Path) or "://" not in target:
        return URL.create("sqlite", database=str(Path(target).expanduser()))
    scheme = target.partition("://")[0]
    if scheme not in _SCHEMES:
        allowed = "a path, sqlite:///PATH, postgresql://USER@HOST/DATABASE"
        raise StoreError(f"store: {scheme + '://'!r}, allowed: {allowed}{nearest(scheme, _SCHEMES)}")
    try:
        return make_url(target).set(drivername=_SCHEMES[scheme])
    except (ArgumentError, ValueError):
        # not quoted back: a mistyped URL may hold a password
        raise StoreError(
            f"store: not a valid {scheme} URL; write {scheme}://USER:PASSWORD@HOST:PORT/DATABASE"
        ) from None


def _masked(url: URL) -> str:
    secret = {k: "***" for k in url.query if "password" in k.lower()}
    shown = url.set(drivername=url.get_backend_name()).update_query_dict(secret)
    return shown.render_as_string(hide_password=True)


# -- SQLite


def _sqlite(url: URL, *, create: bool, read_only: bool) -> Database:
    if url.database in (None, "", ":memory:") or url.query:
        raise StoreError(f"store: {str(url)!r}, allowed: sqlite:///PATH of a file, without options")
    path = Path(str(url.database)).absolute()
    label = str(path)
    with told(label):
        if path.is_dir():
            raise StoreError(f"store {label}: a folder, wanted is a file; write {str(path / 'nas.db')!r}")
        if not path.exists():
            if read_only or not create:
                raise StoreError(f"store {label}: no such file; a search creates it")
            path.parent.mkdir(parents=True, exist_ok=True)
        elif not read_only and not os.access(path, os.W_OK):
            # SQLite would open it for reading and fail at the first write, hours later
            raise StoreError(f"store {label}: read-only, writing was asked for")
    opener = _reader(path) if read_only else _writer(path)
    # pool_size is what stays open; a driver needs one connection and its heartbeat another
    engine = create_engine("sqlite://", creator=opener, poolclass=QueuePool, pool_size=2, json_serializer=_json)
    event.listen(engine, "begin", _begin)
    return Database(engine, label, path, read_only)


def _begin(connection: Connection) -> None:
    writing = connection.get_execution_options().get("writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _open(path: Path, options: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?{options}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.execute("PRAGMA foreign_keys=ON")
    return connection


def _writer(path: Path) -> Callable[[], sqlite3.Connection]:
    def open_writer() -> sqlite3.Connection:
        connection = _open(path, "mode=rwc")
        _wal(connection)
        connection.execute("PRAGMA synchronous=NORMAL")
        return connection

    return open_writer


def _wal(connection: sqlite3.Connection) -> None:
    # turning WAL on asks for the whole file and does not wait for its turn, so we do
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").fetchall()
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                connection.close()
                raise
            time.sleep(0.01)


def _reader(path: Path) -> Callable[[], sqlite3.Connection]:
    def open_reader() -> sqlite3.Connection:
        connection = _open(path, "mode=ro")
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
        except sqlite3.OperationalError:
            # a WAL file needs its -shm beside it; in a read-only folder only an unchanging file can be read
            connection.close()
            wal = path.with_name(path.name + "-wal")
            if wal.exists() and wal.stat().st_size > 0:
                raise
            connection = _open(path, "mode=ro&immutable=1")
        return connection

    return open_reader


# -- PostgreSQL


def _postgresql(url: URL, *, read_only: bool) -> Database:
    label = _masked(url)
    if find_spec("psycopg") is None:
        raise StoreError(f"store {label}: the driver psycopg is missing; pip install 'nas-vision[postgres]'")
    defaults: dict[str, Any] = {} if "connect_timeout" in url.query else {"connect_timeout": 10}
    with told(label):
        engine = create_engine(url, connect_args=defaults, pool_size=2, pool_pre_ping=True, json_serializer=_json)
    if read_only:
        engine = engine.execution_options(postgresql_readonly=True)
    return Database(engine, label, None, read_only)


def _json(value: Any) -> str:
    return json.dumps(value, allow_nan=False, ensure_ascii=True)
