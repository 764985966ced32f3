"""Fixtures for every floor: a private PostgreSQL server, and the databases a store is tested on."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

import pytest

PASSWORD = "not/a@secret"
_databases = count()


@pytest.fixture(scope="session", autouse=True)
def ctrl_c() -> None:
    """Let SIGINT raise KeyboardInterrupt, also where a script in the background runs the tests and ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _missing(reason: str) -> NoReturn:
    if os.environ.get("NAS_REQUIRE_POSTGRES") == "1":
        pytest.fail(f"NAS_REQUIRE_POSTGRES=1 but {reason}")
    pytest.skip(reason)


def _programs() -> Path:
    """Folder of initdb and pg_ctl: on the PATH, or where Debian keeps them off it."""
    if found := shutil.which("initdb"):
        return Path(found).parent
    homes = [*Path("/usr/lib/postgresql").glob("*/bin/initdb"), *Path("/usr").glob("pgsql-*/bin/initdb")]
    if not homes:
        _missing("PostgreSQL is not installed (no initdb on the PATH or in /usr/lib/postgresql)")
    return max(homes, key=lambda path: [int(n) for n in path.parts if n.isdigit()]).parent


def _other_user() -> dict[str, Any]:
    """The server refuses to run as root; whom to run it as instead."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            account = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    _missing("neither of the users postgres and nobody exists to run PostgreSQL as")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Run a PostgreSQL server of our own; yields `USER:PASSWORD@HOST:PORT` as in a URL."""
    if find_spec("psycopg") is None:
        _missing("psycopg is not installed")
    programs, who = _programs(), _other_user()
    home = Path(tempfile.mkdtemp(prefix="nas-pg-"))
    (home / "password").write_text(PASSWORD)
    if who:
        for path in (home, home / "password"):
            os.chown(path, who["user"], who["group"])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def run(program: str, *arguments: str) -> None:
        done = subprocess.run(
            [programs / program, "-D", home / "data", *arguments],
            **who,
            cwd=home,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            # not captured: the server inherits the handles and would keep them open
            stdout=(home / "output").open("ab"),
            stderr=subprocess.STDOUT,
            check=False,
        )
        if done.returncode != 0:
            pytest.fail(f"{program} failed: {(home / 'output').read_text()}")

    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={home} -c fsync=off"
    try:
        run("initdb", "-U", "nas", "-A", "scram-sha-256", f"--pwfile={home / 'password'}", "-E", "UTF8", "--no-sync")
        run("pg_ctl", "start", "-w", "-l", str(home / "log"), "-o", options)
        try:
            yield f"nas:not%2Fa%40secret@127.0.0.1:{port}"
        finally:
            run("pg_ctl", "stop", "-w", "-m", "immediate")
    finally:
        shutil.rmtree(home)


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """URL of an empty PostgreSQL database made for one test."""
    import psycopg

    name = f"test{next(_databases)}"
    with psycopg.connect(f"postgresql://{postgres_server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return f"postgresql://{postgres_server}/{name}"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database, once of each kind that a store may live in."""
    if request.param == "postgres":
        return request.getfixturevalue("postgres_url")
    return f"sqlite:///{tmp_path / 'store.db'}"
