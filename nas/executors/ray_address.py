"""Whether a Ray cluster answers at an address, told within seconds: Ray itself tries for minutes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from nas.executors.executor import ExecutorError

ANSWER_SECONDS, HEALTH_SECONDS = 5.0, 15.0
"""Within this time something must answer at all, and as the head of a cluster does (most of which is Ray's start)."""
ADDRESS = "HOST:PORT of a running cluster, as 10.0.0.1:6379"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
# What opens an HTTP/2 connection, and so every call of gRPC, Ray's protocol (RFC 9113, sec. 3.4 and 4.1): the preface
# and a frame of type 4, settings, without any. A server answers with a frame of the same type.
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_TYPE_AT, _SETTINGS = 3, 4


def host_and_port(address: str) -> tuple[str, int]:
    """Return host and port. Raises ExecutorError on anything else, such as `auto`, which would join any cluster."""
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ExecutorError(f"ray-address: {address!r}, allowed: {ADDRESS}")
    return host, int(port)


def check_answer(address: str) -> None:
    """Do nothing where a Ray cluster answers at the address and lets us in. Raises ExecutorError in one line elsewhere.

    Ray's own check runs in a process apart: what it logs stays there, and it can be cut off.
    """
    host, port = host_and_port(address)
    if host in _LOOPBACK:  # Ray too takes this machine's own address for it
        import ray.util

        host = ray.util.get_node_ip_address()
    try:
        with socket.create_connection((host, port), ANSWER_SECONDS) as connection:
            # an encrypted cluster tells nothing to those without its certificates
            encrypted = os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true")
            if not encrypted and not _speaks_grpc(connection):
                raise ExecutorError(f"ray-address: {address!r}: what answers is no Ray cluster, allowed: {ADDRESS}")
    except OSError as error:
        why = error.strerror or str(error) or type(error).__name__
        raise ExecutorError(f"ray-address: {address!r}: no cluster answers: {why}, allowed: {ADDRESS}") from None
    if (fault := _fault(f"{host}:{port}")) is not None:
        raise ExecutorError(f"ray-address: {address!r}: {fault}")


def _fault(address: str) -> str | None:
    """Return why Ray does not find a cluster in good health that lets us in, None where it does."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=HEALTH_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"not the head of a cluster, or it says nothing for {HEALTH_SECONDS:g} s"
    if done.returncode == 0:
        return None
    if "AuthenticationError" in done.stderr:
        return "the cluster asks for its token; RAY_AUTH_MODE=token sends the one that `ray get-auth-token` shows"
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return f"no healthy cluster: {lines[-1][:300] if lines else f'exit code {done.returncode}'}"


def _speaks_grpc(connection: socket.socket) -> bool:
    answer = b""
    try:
        connection.sendall(_HELLO)
        while len(answer) <= _TYPE_AT and (more := connection.recv(64)):
            answer += more
    except OSError:
        return False
    return len(answer) > _TYPE_AT and answer[_TYPE_AT] == _SETTINGS
