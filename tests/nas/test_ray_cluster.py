"""Searches on a Ray cluster that others started: joined by its address, left alive; wrong addresses."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import pytest

from nas.executors import ExecutorError, RayPool, ray_address
from nas.executors.ray_address import check_answer, host_and_port

SEARCH = ("search", "--space", "tiny", "--train-as", "full", "--workers", 1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


class Cluster(NamedTuple):
    """A cluster that somebody else runs, and what lets others in."""

    address: str
    process: subprocess.Popen[str]
    key: dict[str, str]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Start a cluster of one CPU on this machine, guarded by a token, as its operator would."""
    folder, port = Path(tempfile.mkdtemp(prefix="ray-")), free_port()  # a short path: Ray puts sockets there
    (folder / "token").write_text(uuid4().hex)
    key = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(folder / "token")}
    options = {
        "port": port,
        "num-cpus": 1,
        "object-store-memory": 80 * 2**20,
        "include-dashboard": "false",
        "dashboard-agent-listen-port": 0,
        "min-worker-port": 0,
        "max-worker-port": 0,
        "temp-dir": folder,
    }
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"]
    started = subprocess.Popen(
        [*command, *(f"--{name}={value}" for name, value in options.items())],
        env={**os.environ, **key},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        assert started.stdout is not None
        assert any("Ray runtime started" in line for line in iter(started.stdout.readline, "")), "ray start ended"
        yield Cluster(f"127.0.0.1:{port}", started, key)
    finally:
        started.terminate()  # which stops what it has started
        try:
            started.communicate(timeout=30)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGKILL)
            shutil.rmtree(folder, ignore_errors=True)


JOINED = """
import sys
import nas.preparation
from nas.__main__ import main
from trials.evaluators.surrogate import Surrogate

nas.preparation._evaluators = lambda settings: (Surrogate(epochs=2),)
sys.exit(main(["search", "--space", "tiny", "--train-as", "full", "--budget", "3", "--study", "s", *sys.argv[1:]]))
"""


def test_a_search_joins_a_cluster_and_leaves_it_alive(
    nas, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cluster: Cluster
) -> None:
    store = tmp_path / "nas.db"
    words = ["--workers", "1", "--ray-address", cluster.address, "--store", str(store), "--json"]
    command = [sys.executable, "-c", JOINED, *words]
    ran = subprocess.run(command, env={**os.environ, **cluster.key}, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["done"] == 3
    trials = json.loads(nas("trials", "s", "--state", "complete", "--store", store, "--json").out)
    assert len(trials) == 3
    assert cluster.process.poll() is None
    for name, value in cluster.key.items():
        monkeypatch.setenv(name, value)
    check_answer(cluster.address)


def test_a_cluster_that_asks_for_a_token_is_told_in_one_line(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, cluster: Cluster, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    line = refused(*SEARCH, "--budget", 2, "--ray-address", cluster.address, "--store", tmp_path / "nas.db")
    assert "RAY_AUTH_MODE=token" in line
    assert list(tmp_path.iterdir()) == []


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """Listen at an address and say this to the first who comes, whatever they say."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(answer)
                while connection.recv(64):
                    pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"localhost:{server.getsockname()[1]}"


@pytest.mark.parametrize("address", ["auto", "local", "10.0.0.1", "10.0.0.1:", ":6379", "ray://h:1", "h:0", "h:65536"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ExecutorError, match=r"ray-address: '.*', allowed: HOST:PORT"):
        host_and_port(address)


def test_addresses_are_read() -> None:
    assert host_and_port("10.0.0.1:6379") == ("10.0.0.1", 6379)
    assert host_and_port("[::1]:80") == ("::1", 80)


def test_a_wrong_address_is_refused_in_seconds_and_nothing_is_stored(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    begin = time.monotonic()
    store = tmp_path / "nas.db"
    line = refused(*SEARCH, "--budget", 2, "--ray-address", f"127.0.0.1:{free_port()}", "--store", store)
    assert "no cluster answers" in line
    assert time.monotonic() - begin < 5
    assert not store.exists()


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9.2\r\n", b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_what_is_no_ray_is_refused(monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    monkeypatch.setattr(ray_address, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr("ray.util.get_node_ip_address", lambda: "127.0.0.1")
    with answering(answer) as address, pytest.raises(ExecutorError, match="is no Ray cluster"):
        RayPool(1, address=address)
