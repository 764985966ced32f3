"""The schema through time: what is made, what is migrated, what is refused."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect

from trials import migrations
from trials.engine import connect
from trials.migrations import VERSION_TABLE, VERSIONS, ensure_schema, known_versions, stored_version
from trials.rows import StoreError
from trials.schema import metadata
from trials.store import Store

FIRST = Path(__file__).parent / "store_0001.sql"
NEXT = '''"""Add a note to studies."""

import sqlalchemy as sa
from alembic import op

revision = "{version}"
down_revision = "{before}"


def upgrade() -> None:
    op.add_column("study", sa.Column("note", sa.Text, server_default="none"))
    {more}
'''


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """The steps of a later version of this program: ours and one more."""
    return later(tmp_path / "newer")


def later(folder: Path, more: str = "") -> Path:
    shutil.copytree(VERSIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    before = known_versions()[-1]
    version = f"{int(before) + 1:04}"
    (folder / f"{version}_note.py").write_text(NEXT.format(version=version, before=before, more=more))
    return folder


def columns(url: str) -> set[str]:
    database = connect(url, create=False, read_only=True)
    with database.read() as connection:
        names = {c["name"] for c in inspect(connection).get_columns("study")}
    database.close()
    return names


def migrate(url: str, folder: Path) -> None:
    database = connect(url, create=True, read_only=False)
    try:
        ensure_schema(database, create=True, folder=folder)
    finally:
        database.close()


@pytest.fixture
def first_store(tmp_path: Path) -> Path:
    """A store as the first version of the schema left it."""
    path = tmp_path / "first.db"
    connection = sqlite3.connect(path)
    connection.executescript(FIRST.read_text())
    connection.close()
    return path


def test_the_steps_lead_to_the_tables(store_url: str) -> None:
    with Store.open(store_url) as store, store._database.read() as connection:  # pyright: ignore[reportPrivateUsage]
        context = MigrationContext.configure(
            connection, opts={"version_table": VERSION_TABLE, "compare_type": True, "target_metadata": metadata}
        )
        assert compare_metadata(context, metadata) == []
        assert stored_version(connection) == known_versions()[-1]
        names = set(inspect(connection).get_table_names())
    assert names == {*metadata.tables, "nas_alembic_version"}
    tables = {"study", "architecture", "trial", "epoch_metric", "measurement", "artifact", "annotation"}
    assert set(metadata.tables) == tables


def test_constraints_are_the_same_in_steps_and_tables(store_url: str) -> None:
    with Store.open(store_url) as store, store._database.read() as connection:  # pyright: ignore[reportPrivateUsage]
        inspector = inspect(connection)
        for name, table in metadata.tables.items():
            made = {c["name"] for c in inspector.get_check_constraints(name)}
            made |= {c["name"] for c in inspector.get_foreign_keys(name)}
            made |= {c["name"] for c in inspector.get_unique_constraints(name)}
            made.add(inspector.get_pk_constraint(name)["name"])
            assert made == {c.name for c in table.constraints}


def test_versions_are_a_chain_without_gaps() -> None:
    assert known_versions() == [f"{n:04}" for n in range(1, len(known_versions()) + 1)]


def test_a_store_of_the_first_version_opens(first_store: Path) -> None:
    with Store.open(first_store, create=False) as store:
        (study,) = store.studies()
        assert (study.name, study.budget, study.driver) == ("old", 3, None)
        assert {k: v for k, v in study.counts.items() if v} == {"complete": 1, "queued": 1, "failed": 1, "duplicate": 1}
        best, twin, broken, waiting = store.trials(study.id)
        assert best.values == {"accuracy": 0.75, "latency_ms": 3.5}
        assert (best.choices, best.epochs, best.extra) == ({"stages[0].width": 64}, 2, {"k": [1, 2]})
        assert (twin.duplicate_of, twin.arch_json) == (0, best.arch_json)
        assert broken.reason == "loss is nan at epoch 1"
        assert [(e.number, e.epoch, e.attempt) for e in store.epochs(study.id)] == [(0, 1, 1), (0, 2, 2), (2, 1, 1)]
        assert [m.circumstances for m in store.measurements_of(best.id)] == [{}, {"device": "cpu", "threads": 1}]
        assert [a.path for a in store.artifacts_of(best.id)] == ["old/0/last.pt"]
        store.start_trial(waiting.id, worker="w", attempt=1)
        store.finish_trial(waiting.id, state="stopped")
    with Store.open(first_store) as store:
        assert store.trial(study.id, 3).state == "stopped"


def test_an_older_store_is_migrated_and_keeps_its_rows(store_url: str, newer: Path) -> None:
    with Store.open(store_url) as store:
        kept = store.create_study("old", space="", config={"a": 1}, code_version="", data_fingerprint="")
    migrate(store_url, newer)
    assert "note" in columns(store_url)
    database = connect(store_url, create=False, read_only=True)
    with database.read() as connection:
        assert stored_version(connection) == known_versions(newer)[-1]
        row = connection.exec_driver_sql("SELECT name, note FROM study").one()
    database.close()
    assert tuple(row) == (kept.name, "none")


@pytest.mark.parametrize("read_only", [False, True])
def test_a_newer_store_is_refused(store_url: str, newer: Path, read_only: bool) -> None:
    migrate(store_url, newer)
    ours, theirs = known_versions()[-1], known_versions(newer)[-1]
    with pytest.raises(StoreError) as caught:
        Store.open(store_url, read_only=read_only)
    assert f"schema version {theirs} is newer than this program, which speaks {ours}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_reading_does_not_migrate(store_url: str, newer: Path) -> None:
    Store.open(store_url).close()
    database = connect(store_url, create=False, read_only=True)
    with pytest.raises(StoreError, match=r"schema version \d{4}, this program reads \d{4}; open it once for writing"):
        ensure_schema(database, create=False, folder=newer)
    database.close()
    assert "note" not in columns(store_url)


def test_a_step_that_fails_changes_nothing(store_url: str, tmp_path: Path) -> None:
    with Store.open(store_url) as store:
        store.create_study("old", space="", config={}, code_version="", data_fingerprint="")
    broken = later(tmp_path / "broken", more='op.execute("UPDATE no_such_table SET x = 1")')
    with pytest.raises(StoreError, match="no_such_table"):
        migrate(store_url, broken)
    assert "note" not in columns(store_url)
    with Store.open(store_url) as store:
        assert [s.name for s in store.studies()] == ["old"]


def test_a_new_store_goes_through_all_steps(store_url: str, newer: Path) -> None:
    migrate(store_url, newer)
    assert "note" in columns(store_url)


def test_opening_a_current_store_does_not_load_alembic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store.open(tmp_path / "a.db").close()

    def never(*_: object) -> None:
        raise AssertionError("nothing to upgrade")

    monkeypatch.setattr(migrations, "_upgrade", never)
    with Store.open(tmp_path / "a.db") as store:
        assert store.studies() == []
