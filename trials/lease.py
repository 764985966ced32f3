"""One driver a study at a time: a lease in the study's row, kept alive by a thread.

A lease ends when its holder lets go, when its holder's process is dead (seen only from the same machine), or when it
has not been renewed for a minute.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Row, func, select, update

from trials.engine import Database
from trials.rows import StoreError
from trials.schema import study

HEARTBEAT_SECONDS = 10.0
STALE_SECONDS = 60.0

# tells a lease of this process from one of a dead process that had the same number
_held_here: set[str] = set()


class Lease:
    """The right to drive one study, as long as `lost` is False."""

    def __init__(self, study_name: str, token: str) -> None:
        self.study_name = study_name
        self.token = token
        self._lost = threading.Event()

    @property
    def lost(self) -> bool:
        """Whether another process has taken the study over, as happens when this one sleeps for over a minute."""
        return self._lost.is_set()

    def check(self) -> None:
        """Raise StoreError if the lease is lost: nothing more may be written to the study."""
        if self.lost:
            raise StoreError(lost_message(self.study_name))

    def mark_lost(self) -> None:
        """Record that the database no longer knows this lease."""
        self._lost.set()


def lost_message(study_name: str) -> str:
    """Return the line for a driver that has been replaced."""
    return f"study {study_name!r}: another process drives it now, this one may not write to it any more"


@contextmanager
def hold(
    database: Database, study_name: str, *, heartbeat: float = HEARTBEAT_SECONDS, stale: float = STALE_SECONDS
) -> Iterator[tuple[int, Lease]]:
    """Take a study's lease, renew it every `heartbeat` seconds, and give it back on leaving.

    Yields:  the study's id and the lease.
    Raises:  StoreError if a live process holds the lease, or there is no such study.
    """
    token = uuid4().hex
    study_id = _take(database, study_name, token, stale)
    lease, stop = Lease(study_name, token), threading.Event()
    _held_here.add(token)
    thread = threading.Thread(
        target=_beat, args=(database, study_id, lease, stop, heartbeat), name=f"lease of {study_name}", daemon=True
    )
    thread.start()
    try:
        yield study_id, lease
    finally:
        stop.set()
        thread.join()
        _held_here.discard(token)
        _give_back(database, study_id, token)


def holder(row: Row[*tuple[Any, ...]], now: datetime, stale: float = STALE_SECONDS) -> str | None:
    """Return `host:pid` of the live process that holds a study's lease, from the study's row, or None."""
    token, host, pid, beat = row.lease_token, row.lease_host, row.lease_pid, row.lease_beat
    if token is None or now - beat > timedelta(seconds=stale):
        return None
    if host == _this_machine() and not _alive(pid, token):
        return None
    return f"{host.partition('/')[0]}:{pid}"


def moment(connection: Connection) -> datetime:
    """Return the time by the one clock all drivers share: the server's, or this machine's for a file."""
    if connection.dialect.name == "sqlite":
        return datetime.now(UTC)
    return connection.execute(select(func.clock_timestamp())).scalar_one()


def _take(database: Database, study_name: str, token: str, stale: float) -> int:
    with database.write() as connection:
        row = connection.execute(select(study).where(study.c.name == study_name).with_for_update()).one_or_none()
        if row is None:
            raise StoreError(f"study {study_name!r}: not in store {database.label}")
        now = moment(connection)
        if (driver := holder(row, now, stale)) is not None:
            ago = (now - row.lease_beat).total_seconds()
            raise StoreError(
                f"study {study_name!r}: driven by process {driver} (last sign of life {ago:.0f} s ago);"
                " one driver at a time, stop it or wait for it"
            )
        mine = {"lease_token": token, "lease_host": _this_machine(), "lease_pid": os.getpid(), "lease_beat": now}
        connection.execute(update(study).where(study.c.id == row.id).values(mine))
        return row.id


def _beat(database: Database, study_id: int, lease: Lease, stop: threading.Event, heartbeat: float) -> None:
    mine = (study.c.id == study_id) & (study.c.lease_token == lease.token)
    while not stop.wait(heartbeat):
        try:
            with database.write() as connection:
                renewed = connection.execute(update(study).where(mine).values(lease_beat=moment(connection)))
        except StoreError:
            # a full disk or a server that restarts may pass; if not, the lease goes stale by itself
            continue
        if renewed.rowcount == 0:
            lease.mark_lost()
            return


def _give_back(database: Database, study_id: int, token: str) -> None:
    free = {"lease_token": None, "lease_host": None, "lease_pid": None, "lease_beat": None}
    mine = (study.c.id == study_id) & (study.c.lease_token == token)
    try:
        with database.write() as connection:
            connection.execute(update(study).where(mine).values(free))
    except StoreError:
        # must not hide what ended the search; a lease without a process behind it is free anyway
        return


def _this_machine() -> str:
    # processes of two containers may share a host name but cannot see each other's numbers
    namespace = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()}/{namespace.stat().st_ino if namespace.exists() else 0}"


def _alive(pid: int, token: str) -> bool:
    if pid == os.getpid():
        return token in _held_here
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    # a killed process that its parent has not yet reaped still has a number
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return not Path("/proc/self").exists()
    return status.rpartition(")")[2].split()[0] not in ("Z", "X")
