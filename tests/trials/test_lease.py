"""One driver a study: who holds a lease, when it ends, and what a driver that lost it may still do."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from trials import lease
from trials.measurement import Measured
from trials.rows import StoreError, StudyRow, TrialRow
from trials.schema import study as study_table
from trials.store import Store

HOLDER = """
import time
from trials.store import Store
with Store.open(args[0]) as store, store.lease("first"):
    say("held")
    time.sleep(600)
"""


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with Store.open(store_url) as opened:
        opened.create_study("first", space="", config={}, code_version="", data_fingerprint="")
        yield opened


@pytest.fixture
def other(store: Store, store_url: str) -> Iterator[Store]:
    """A second driver's view of the same database."""
    with Store.open(store_url) as opened:
        yield opened


@pytest.fixture
def holder(store: Store, store_url: str, fork: Callable[..., Any]) -> Any:
    """A process that holds the lease."""
    child = fork(HOLDER, store_url)
    child.heard("held")
    return child


def add(store: Store, study: StudyRow) -> TrialRow:
    return store.add_trial(
        study.id,
        state="queued", arch_id="a", arch_json="{}", params=1, macs=1, choices={}, seed=0, sampler="random",
    )  # fmt: skip


def set_lease(store: Store, **columns: object) -> None:
    """Change the lease as another machine would."""
    with store._database.write() as connection:  # pyright: ignore[reportPrivateUsage]
        connection.execute(update(study_table).values(**columns))


def eventually(true: Callable[[], bool]) -> bool:
    """Wait for another thread to see what happened; generous, because the machine may be busy."""
    deadline = time.monotonic() + 60
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)
    return true()


def test_only_one_holds_a_lease(store: Store, other: Store) -> None:
    with store.lease("first"):
        with (
            pytest.raises(StoreError, match=rf"study 'first': driven by process .+:{os.getpid()} \(last sign of life"),
            other.lease("first"),
        ):
            pass
        assert store.summary("first").driver == other.summary("first").driver != None  # noqa: E711
    assert store.summary("first").driver is None
    with other.lease("first") as held:
        assert not held.lost


def test_leases_of_two_studies_do_not_meet(store: Store) -> None:
    store.create_study("second", space="", config={}, code_version="", data_fingerprint="")
    with store.lease("first"), store.lease("second"):
        assert [s.driver is not None for s in store.studies()] == [True, True]


def test_a_lease_is_given_back_after_an_error(store: Store) -> None:
    with pytest.raises(KeyboardInterrupt), store.lease("first"):
        raise KeyboardInterrupt
    assert store.summary("first").driver is None


def test_a_living_process_keeps_its_lease(store: Store, holder: Any) -> None:
    with pytest.raises(StoreError, match=f"driven by process .+:{holder.pid}"), store.lease("first"):
        pass


def test_a_killed_process_leaves_its_lease_at_once(store: Store, holder: Any) -> None:
    holder.kill()
    with store.lease("first") as held:
        assert not held.lost


def test_a_killed_process_that_nobody_has_asked_about_holds_nothing(store: Store) -> None:
    with subprocess.Popen(["sleep", "600"]) as child:
        set_lease(
            store,
            lease_token="t", lease_host=lease._this_machine(),  # pyright: ignore[reportPrivateUsage]
            lease_pid=child.pid, lease_beat=datetime.now(UTC),
        )  # fmt: skip
        assert store.summary("first").driver is not None
        child.kill()
        # it stays in the table of processes until its parent takes notice
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert store.summary("first").driver is None


def test_a_suspended_process_keeps_its_lease_for_a_minute(store: Store, holder: Any) -> None:
    os.kill(holder.pid, signal.SIGSTOP)
    with pytest.raises(StoreError, match="driven by"), store.lease("first"):
        pass
    set_lease(store, lease_beat=datetime.now(UTC) - timedelta(seconds=61))
    with store.lease("first"):
        assert store.summary("first").driver is not None


def test_another_machine_is_believed_until_it_falls_silent(store: Store) -> None:
    now = datetime.now(UTC)
    set_lease(store, lease_token="t", lease_host="far/1", lease_pid=2**22 + 1, lease_beat=now)
    assert store.summary("first").driver == f"far:{2**22 + 1}"
    with pytest.raises(StoreError, match="driven by process far:"), store.lease("first"):
        pass
    set_lease(store, lease_beat=now - timedelta(seconds=61))
    assert store.summary("first").driver is None
    with store.lease("first"):
        pass


def test_a_dead_process_of_our_own_number_holds_nothing(store: Store) -> None:
    with store.lease("first"):
        pass
    with store.lease("first"):
        # as if the machine had started over and given us the number of the process that died
        set_lease(store, lease_token="of the dead")
        assert store.summary("first").driver is None


def test_the_heartbeat_renews(store: Store) -> None:
    with store.lease("first", heartbeat=0.02) as held:
        old = datetime.now(UTC) - timedelta(hours=1)
        set_lease(store, lease_beat=old)
        assert store.summary("first").driver is None or not held.lost
        assert eventually(lambda: store.summary("first").driver is not None)
        held.check()


def test_a_replaced_driver_learns_of_it(store: Store, other: Store) -> None:
    with store.lease("first", heartbeat=0.02) as held:
        set_lease(store, lease_token="another")
        assert eventually(lambda: held.lost)
        with pytest.raises(StoreError, match="study 'first': another process drives it now"):
            held.check()
        set_lease(store, lease_host="far/1", lease_beat=datetime.now(UTC))
    # leaving does not take the lease from the one who has it now
    assert other.summary("first").driver is not None


def test_a_replaced_driver_cannot_write(store: Store, other: Store) -> None:
    study = store.study("first")
    with store.lease("first"):
        running, queued = add(store, study), add(store, study)
        store.start_trial(running.id, worker="w", attempt=1)
        set_lease(store, lease_beat=datetime.now(UTC) - timedelta(seconds=61))
        with other.lease("first"):
            for write in (
                lambda: add(store, study),
                lambda: store.start_trial(queued.id, worker="w", attempt=1),
                lambda: store.add_epoch(running.id, attempt=1, epoch=1, metrics={"loss": 1.0}),
                lambda: store.finish_trial(
                    running.id, state="complete", measurements={"accuracy": Measured(0.5, "ratio")}
                ),
                lambda: store.requeue(study.id),
                lambda: store.update_config("first", {"budget": 1}),
            ):
                with pytest.raises(StoreError, match="study 'first': another process drives it now"):
                    write()
            assert [t.state for t in other.trials(study.id)] == ["running", "queued"]
            assert (other.epochs(study.id), other.measurements_of(running.id)) == ([], [])
            assert other.study("first") == study
            assert add(other, study).number == 2
