"""Opening a store: where it lies, what may not be written, and one clear line for each thing that can go wrong."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trials import engine
from trials.measurement import Measured
from trials.rows import StoreError
from trials.store import Store


def fill(path: Path, trials: int = 1) -> None:
    with Store.open(path) as store:
        study = store.create_study("first", space="", config={}, code_version="", data_fingerprint="")
        for number in range(trials):
            trial = store.add_trial(
                study.id,
                state="queued", arch_id=f"{number:016x}", arch_json="{}", params=1, macs=1,
                choices={}, seed=0, sampler="random",
            )  # fmt: skip
            store.start_trial(trial.id, worker="w", attempt=1)
            store.finish_trial(trial.id, state="complete", measurements={"accuracy": Measured(0.5, "ratio")})


def refusal(target: str | Path, **options: bool) -> str:
    with pytest.raises(StoreError) as caught:
        Store.open(target, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- where it lies


def test_the_default_is_under_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NAS_STORE", raising=False)
    with Store.open() as store:
        assert Path(store.url) == tmp_path / ".nas" / "nas.db"
        assert store.root.is_relative_to(tmp_path / ".nas")
    assert (tmp_path / ".nas" / "nas.db").is_file()


def test_the_environment_names_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAS_STORE", str(tmp_path / "deep" / "er" / "mine.db"))
    with Store.open() as store:
        assert store.root == tmp_path / "deep" / "er" / "mine_files"
    assert (tmp_path / "deep" / "er" / "mine.db").is_file()


def test_paths_with_marks_of_urls_are_paths(tmp_path: Path) -> None:
    odd = tmp_path / "50% off? #1 & ü.db"
    fill(odd)
    assert odd.is_file()
    for target in (odd, str(odd)):
        with Store.open(target, read_only=True) as store:
            assert [s.name for s in store.studies()] == ["first"]


def test_path_and_url_lead_to_the_same_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "a.db")
    monkeypatch.chdir(tmp_path)
    for target in ("a.db", "./a.db", f"sqlite:///{tmp_path}/a.db", "sqlite:///a.db", "sqlite+pysqlite:///a.db"):
        with Store.open(target, create=False) as store:
            assert store.url == str(tmp_path / "a.db")
            assert store.summary("first").trials == 1


def test_two_stores_in_a_folder_keep_their_files_apart(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a.db") as a, Store.open(tmp_path / "b.db") as b:
        assert a.root != b.root


# -- what is refused


@pytest.mark.parametrize("options", [{"create": False}, {"read_only": True}])
def test_a_missing_store_is_not_made_by_reading(tmp_path: Path, options: dict[str, bool]) -> None:
    path = tmp_path / "none" / "a.db"
    assert refusal(path, **options) == f"store {path}: no such file; a search creates it"
    assert not path.parent.exists()


def test_an_empty_file_holds_no_store(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.touch()
    for options in ({"create": False}, {"read_only": True}):
        assert "holds no tables of this program" in refusal(path, **options)
    fill(path)
    assert refusal(path / "below").startswith(f"store {path / 'below'}: ")


def test_a_folder_is_not_a_store(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"store {tmp_path}: a folder, wanted is a file; write '{tmp_path / 'nas.db'}'"


@pytest.mark.parametrize("content", [b"stages: []\n" * 100, b"SQLite format 3\0" + b"\xff" * 4096, os.urandom(3000)])
@pytest.mark.parametrize("read_only", [False, True])
def test_a_file_of_another_kind_is_left_alone(tmp_path: Path, content: bytes, read_only: bool) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    assert refusal(path, read_only=read_only).startswith(f"store {path}: ")
    assert path.read_bytes() == content


def test_a_damaged_store_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    fill(path, trials=50)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(StoreError, match=r"damaged|not a SQLite database"), Store.open(path) as store:
        store.trials(1)


def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE study (x)")
    other.close()
    assert "holds the tables 'study' of another program; use another file or database" in refusal(path)
    assert sqlite3.connect(path).execute("SELECT name FROM sqlite_master").fetchall() == [("study",)]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("mysql://me:hush@host/db", "'mysql://', allowed: a path, sqlite:///PATH, postgresql://"),
        ("postgress://me:hush@host/db", "did you mean 'postgres'"),
        ("postgresql://me:hush@host:port/db", "not a valid postgresql URL"),
        ("sqlite://", "allowed: sqlite:///PATH of a file"),
        ("sqlite:///:memory:", "allowed: sqlite:///PATH of a file"),
        ("sqlite:///a.db?mode=memory", "without options"),
    ],
)
def test_odd_urls_are_refused_without_showing_passwords(target: str, said: str) -> None:
    line = refusal(target)
    assert said in line
    assert "hush" not in line


# -- what may not be written


def test_a_reader_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    fill(path)
    with Store.open(path, read_only=True) as store:
        assert store.read_only
        assert store.trials(1)[0].values == {"accuracy": 0.5}
        for write in (
            lambda: store.requeue(1),
            lambda: store.create_study("b", space="", config={}, code_version="", data_fingerprint=""),
            lambda: store.lease("first").__enter__(),
        ):
            with pytest.raises(StoreError, match=f"store {path}: opened read-only, writing was asked for"):
                write()


def test_a_reader_sees_what_a_writer_stores(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    fill(path)
    with Store.open(path, read_only=True) as reader, Store.open(path) as writer:
        assert len(reader.studies()) == 1
        writer.create_study("second", space="", config={}, code_version="", data_fingerprint="")
        assert [s.name for s in reader.studies()] == ["first", "second"]


UNPRIVILEGED = """
import os
from trials.store import Store
from trials.rows import StoreError
if os.geteuid() == 0:
    # root may write anything
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    with Store.open(args[0], read_only=args[1] == "read") as store:
        say(str([t.values for t in store.trials(1)]))
except StoreError as error:
    say(f"refused: {error}")
"""
AsNobody = Callable[[Path, str], str]


@pytest.fixture
def as_nobody(fork: Callable[..., Any]) -> AsNobody:
    """Open a store as a user without rights and return what there is to say of it."""

    def opened(path: Path, how: str) -> str:
        child = fork(UNPRIVILEGED, str(path), how)
        assert child.ended() == 0, child.errors()
        return (child.folder / "out").read_text()

    return opened


@pytest.fixture
def locked_away(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that may be read and not written, in a folder that may not be written."""
    folder = tmp_path_factory.mktemp("locked")
    levels = 3 if "PYTEST_XDIST_WORKER" in os.environ else 2  # each worker has a folder of its own in between
    for above in (folder, *folder.parents[:levels]):
        above.chmod(above.stat().st_mode | 0o055)
    fill(folder / "a.db")
    (folder / "a.db").chmod(0o444)
    folder.chmod(0o555)
    return folder / "a.db"


def test_a_store_that_may_not_be_written_can_be_read(locked_away: Path, as_nobody: AsNobody) -> None:
    assert as_nobody(locked_away, "read") == "[{'accuracy': 0.5}]"


def test_a_store_that_may_not_be_written_is_refused_for_writing(locked_away: Path, as_nobody: AsNobody) -> None:
    assert as_nobody(locked_away, "write").startswith(f"refused: store {locked_away}: ")
    locked_away.parent.chmod(0o777)
    line = as_nobody(locked_away, "write")
    assert line == f"refused: store {locked_away}: read-only, writing was asked for"


def test_a_folder_that_may_not_be_written_is_refused(locked_away: Path, as_nobody: AsNobody) -> None:
    line = as_nobody(locked_away.with_name("b.db"), "write")
    assert line.startswith(f"refused: store {locked_away.with_name('b.db')}: cannot be opened")
    assert not locked_away.with_name("b.db").exists()


# -- a full disk


def test_a_full_disk_loses_nothing_that_was_stored(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    fill(path)
    with Store.open(path) as store:
        with store._database.engine.connect() as connection:  # pyright: ignore[reportPrivateUsage]
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 2}")
        with pytest.raises(StoreError, match=r"the disk is full, nothing was written") as caught:
            for name in range(1000):
                store.create_study(f"s{name}", space="x" * 500, config={}, code_version="", data_fingerprint="")
        assert "\n" not in str(caught.value)
        names = [s.name for s in store.studies()]
        assert names == ["first", *(f"s{n}" for n in range(len(names) - 1))]
        assert store.trial(1, 0).values == {"accuracy": 0.5}
    with Store.open(path) as store:
        store.create_study("after", space="", config={}, code_version="", data_fingerprint="")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for 600 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("mounting a small file system takes root and the right to mount")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up_loses_nothing_that_was_stored(small_disk: Path) -> None:
    path = small_disk / "a.db"
    fill(path)
    with Store.open(path) as store:
        made = []
        with pytest.raises(StoreError, match=f"store {path}: the disk is full, nothing was written"):
            for number in range(10_000):
                store.create_study(f"s{number}", space="x" * 5000, config={}, code_version="", data_fingerprint="")
                made.append(f"s{number}")
        assert [s.name for s in store.studies()] == ["first", *made]
    with Store.open(path, read_only=True) as store:
        assert [s.name for s in store.studies()] == ["first", *made]
    assert refusal(small_disk / "b.db").endswith("the disk is full, nothing was written; free some space and go on")
    (small_disk / "b.db").unlink()
    subprocess.run(["mount", "-o", "remount,size=2m", str(small_disk)], check=True)
    with Store.open(path) as store:
        store.create_study("after", space="", config={}, code_version="", data_fingerprint="")
        assert [s.name for s in store.studies()] == ["first", *made, "after"]
        assert store.trial(1, 0).values == {"accuracy": 0.5}


# -- waiting


def test_a_writer_waits_only_so_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.db"
    fill(path)
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.05)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    assert "another process has been writing" in refusal(path)
    with Store.open(path, read_only=True) as reader:
        assert len(reader.studies()) == 1
    blocker.execute("COMMIT")
    blocker.close()
    Store.open(path).close()
