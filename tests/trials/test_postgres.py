"""What is particular to a server: reaching it, being refused by it, losing it, and sharing it with other tables."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from trials import engine
from trials.rows import StoreError
from trials.store import Store

pytestmark = pytest.mark.postgres


def refusal(url: str) -> str:
    with pytest.raises(StoreError) as caught:
        Store.open(url)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_wrong_password_is_refused_and_not_shown(postgres_url: str) -> None:
    wrong = re.sub(r":[^:@]*@", ":hush-hush@", postgres_url)
    line = refusal(wrong)
    assert "password authentication failed for user" in line
    assert "nas:***@127.0.0.1" in line
    assert "hush" not in line


def test_a_password_in_the_options_is_not_shown(postgres_url: str) -> None:
    bare = re.sub(r":[^:@]*@", "@", postgres_url)
    line = refusal(f"{bare}?password=hush-hush")
    assert "password authentication failed" in line
    assert "hush" not in line


def test_a_server_that_is_not_there_is_named() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    line = refusal(f"postgresql://me:hush-hush@127.0.0.1:{port}/nas")
    assert line.startswith(f"store postgresql://me:***@127.0.0.1:{port}/nas: ")
    assert "refused" in line
    assert "hush" not in line


def test_a_database_that_is_not_there_is_named(postgres_server: str) -> None:
    assert 'database "nowhere" does not exist' in refusal(f"postgresql://{postgres_server}/nowhere")


def test_a_missing_driver_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "find_spec", lambda _: None)
    line = refusal("postgresql://me:hush-hush@host/nas")
    assert "the driver psycopg is missing; pip install 'nas-vision[postgres]'" in line
    assert "hush" not in line


def test_the_short_scheme_is_understood(postgres_url: str) -> None:
    with Store.open(postgres_url.replace("postgresql://", "postgres://")) as store:
        assert store.studies() == []
        assert "***" in store.url


def test_files_lie_where_the_environment_says(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NAS_ARTIFACTS", "elsewhere")
    with Store.open(postgres_url) as store:
        assert store.root == tmp_path / "elsewhere"
    monkeypatch.delenv("NAS_ARTIFACTS")
    with Store.open(postgres_url) as store:
        assert store.root.is_relative_to(tmp_path / ".nas")


def test_a_reader_needs_the_tables_and_writes_nothing(postgres_url: str) -> None:
    with pytest.raises(StoreError, match="holds no tables of this program"):
        Store.open(postgres_url, read_only=True)
    with pytest.raises(StoreError, match="holds no tables of this program"):
        Store.open(postgres_url, create=False)
    with Store.open(postgres_url) as store:
        store.create_study("one", space="", config={}, code_version="", data_fingerprint="")
    with Store.open(postgres_url, read_only=True) as store:
        assert [s.name for s in store.studies()] == ["one"]
        with pytest.raises(StoreError, match="opened read-only, writing was asked for"):
            store.update_config("one", {})


def test_a_lost_connection_is_made_anew(postgres_url: str) -> None:
    import psycopg

    with Store.open(postgres_url) as store:
        store.create_study("one", space="", config={}, code_version="", data_fingerprint="")
        with psycopg.connect(postgres_url, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        assert [s.name for s in store.studies()] == ["one"]
        store.create_study("two", space="", config={}, code_version="", data_fingerprint="")


def test_tables_of_another_program_may_stand_beside_ours(postgres_url: str) -> None:
    import psycopg

    with psycopg.connect(postgres_url) as other:
        other.execute("CREATE TABLE alembic_version (version_num text)")
        other.execute("INSERT INTO alembic_version VALUES ('v3.0.0.d')")
        other.execute("CREATE TABLE studies (study_id int)")
    with Store.open(postgres_url) as store:
        assert store.studies() == []
    with psycopg.connect(postgres_url) as other:
        assert other.execute("SELECT version_num FROM alembic_version").fetchall() == [("v3.0.0.d",)]
