"""For every floor: how tests run side by side, a private PostgreSQL server, databases for a store, quick processes."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

import pytest

PASSWORD = "not/a@secret"
MOST_WORKERS = 4
"""A worker has PyTorch loaded and may start trainings of its own: about 2 GB each."""
_databases = count()

# before PyTorch is imported: tensors of tests are tiny, and threads of tests that run side by side wait for each other
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Tell how many processes run the tests: one a core for folders, none but this one for single files."""
    if all(Path(str(argument).partition("::")[0]).is_file() for argument in config.args):
        return 0
    return min(len(os.sched_getaffinity(0)), MOST_WORKERS)


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


# -- processes forked from one that has the slow imports behind it

FORKER = """
import json, os, signal, sys, traceback
from importlib import import_module
from pathlib import Path

for name in sys.argv[1:]:
    import_module(name)

folders = {}

def child(job):
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for name, stream in (("out", 1), ("err", 2)):
        os.dup2(os.open(Path(job["folder"]) / name, os.O_WRONLY | os.O_CREAT), stream)
    code = 0
    try:
        exec(job["code"], {"args": job["args"], "say": lambda text: os.write(1, text.encode())})
    except BaseException:
        os.write(2, traceback.format_exc().encode())
        code = 1
    os._exit(code)

def reap(*_):
    while folders:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        Path(folders.pop(pid), "code").write_text(str(os.waitstatus_to_exitcode(status)))

signal.signal(signal.SIGCHLD, reap)
for line in sys.stdin:
    job = json.loads(line)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    pid = os.fork()
    if pid == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
        child(job)
    folders[pid] = job["folder"]
    print(pid, flush=True)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
"""


@dataclass(frozen=True)
class Child:
    """A process running code of a test; the code finds its arguments in `args` and speaks through `say(text)`."""

    pid: int
    folder: Path

    def heard(self, text: str) -> None:
        """Wait until the process has said `text`; fail if it ends before."""
        out = self.folder / "out"
        while not (out.exists() and text in out.read_text()):
            if (self.folder / "code").exists():
                pytest.fail(f"the process ended: {(self.folder / 'err').read_text()}")
            time.sleep(0.002)

    def kill(self) -> None:
        """Kill the process as the machine would, and wait for its end."""
        os.kill(self.pid, signal.SIGKILL)
        self.ended()

    def ended(self) -> int:
        """Wait for the end of the process and return its exit code."""
        while not (code := self.folder / "code").exists() or not code.read_text():
            time.sleep(0.002)
        return int(code.read_text())

    def said(self) -> str:
        """Return what the process wrote to stdout."""
        return (self.folder / "out").read_text()

    def errors(self) -> str:
        """Return what the process wrote to stderr."""
        return (self.folder / "err").read_text()


Fork = Callable[..., Child]


def _forker(*modules: str) -> Iterator[subprocess.Popen[str]]:
    pipes = subprocess.PIPE
    forker = subprocess.Popen([sys.executable, "-c", FORKER, *modules], stdin=pipes, stdout=pipes, text=True)
    yield forker
    forker.communicate()


@pytest.fixture(scope="session")
def _store_forker() -> Iterator[subprocess.Popen[str]]:
    yield from _forker("alembic.command", "trials.store")


@pytest.fixture(scope="session")
def _library_forker() -> Iterator[subprocess.Popen[str]]:
    yield from _forker("numpy", "torch", "torchvision", "timm", "optuna", "plotly.graph_objects", "sklearn.datasets")


def _fork(forker: subprocess.Popen[str], place: Path) -> Iterator[Fork]:
    children: list[Child] = []

    def start(code: str, *args: str) -> Child:
        folder = place / f"process{len(children)}"
        folder.mkdir()
        assert forker.stdin is not None
        assert forker.stdout is not None
        forker.stdin.write(json.dumps({"code": code, "args": args, "folder": str(folder)}) + "\n")
        forker.stdin.flush()
        children.append(Child(int(forker.stdout.readline()), folder))
        return children[-1]

    yield start
    for child in children:
        if not (child.folder / "code").exists():
            child.kill()


@pytest.fixture
def fork(_store_forker: subprocess.Popen[str], tmp_path: Path) -> Iterator[Fork]:
    """Start a process that has `trials.store` imported: `fork(code, *args)`; one alive at the end is killed."""
    yield from _fork(_store_forker, tmp_path)


@pytest.fixture
def fork_fresh(_library_forker: subprocess.Popen[str], tmp_path: Path) -> Iterator[Fork]:
    """Start a process that has the libraries imported, which takes seconds, and nothing of ours."""
    yield from _fork(_library_forker, tmp_path)
