"""Processes that share a store: forked from one that has everything imported, so that starting one costs nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

FORKER = """
import json, os, signal, sys, traceback
import alembic.command, trials.store
from pathlib import Path

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

    def errors(self) -> str:
        """Return what the process wrote to stderr."""
        return (self.folder / "err").read_text()


Fork = Callable[..., Child]


@pytest.fixture(scope="session")
def _forker() -> Iterator[subprocess.Popen[str]]:
    pipes = subprocess.PIPE
    forker = subprocess.Popen([sys.executable, "-c", FORKER], stdin=pipes, stdout=pipes, text=True)
    yield forker
    forker.communicate()


@pytest.fixture
def fork(_forker: subprocess.Popen[str], tmp_path: Path) -> Iterator[Fork]:
    """Start a process: `fork(code, *args)`. Those still alive at the end of the test are killed."""
    children: list[Child] = []

    def start(code: str, *args: str) -> Child:
        folder = tmp_path / f"process{len(children)}"
        folder.mkdir()
        assert _forker.stdin is not None
        assert _forker.stdout is not None
        _forker.stdin.write(json.dumps({"code": code, "args": args, "folder": str(folder)}) + "\n")
        _forker.stdin.flush()
        children.append(Child(int(_forker.stdout.readline()), folder))
        return children[-1]

    yield start
    for child in children:
        if not (child.folder / "code").exists():
            child.kill()
