"""Bring a database to the schema this program speaks: made when empty, migrated when older, refused when newer.

Each step is one file in `versions/`, named by its number. To change the schema add the next number; the newest
file is what the program speaks.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from trials.engine import Database
from trials.rows import StoreError

VERSION_TABLE = "nas_alembic_version"
VERSIONS = Path(__file__).parent / "versions"

# any constant will do as long as every process asks for the same lock
_LOCK = 0x6E6173


def known_versions(folder: Path = VERSIONS) -> list[str]:
    """Return the schema versions this program can reach, oldest first."""
    return sorted(path.stem.partition("_")[0] for path in folder.glob("[0-9]*_*.py"))


def ensure_schema(database: Database, *, create: bool, folder: Path = VERSIONS) -> None:
    """Create or migrate the tables, in one transaction that all other processes wait for.

    Raises:  StoreError if the schema is newer than this program, if the database belongs to another program, or if
             something had to be written and may not be (read-only, or no tables and `create` is False).
    """
    newest = known_versions(folder)[-1]
    if database.read_only or database.path is None:
        with database.read() as connection:
            found = _check(connection, database.label, folder)
        if found == newest:
            return
        if found is None and (database.read_only or not create):
            raise StoreError(f"store {database.label}: holds no tables of this program; a search creates them")
        if database.read_only:
            raise StoreError(
                f"store {database.label}: schema version {found}, this program reads {newest};"
                " open it once for writing to migrate it"
            )
    with database.write() as connection:
        if database.path is None:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        found = _check(connection, database.label, folder)
        if found is None and not create:
            raise StoreError(f"store {database.label}: holds no tables of this program; a search creates them")
        if found != newest:
            _upgrade(connection, folder)


def stored_version(connection: Connection) -> str | None:
    """Return the schema version a database is at, None for one without our tables."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar_one_or_none()


def _check(connection: Connection, label: str, folder: Path) -> str | None:
    known, found = known_versions(folder), stored_version(connection)
    if found is not None and found not in known:
        raise StoreError(
            f"store {label}: schema version {found} is newer than this program, which speaks {known[-1]};"
            " install a newer version of nas, or use another store"
        )
    if found is None and (alien := {"study", "trial"} & set(inspect(connection).get_table_names())):
        names = ", ".join(map(repr, sorted(alien)))
        raise StoreError(f"store {label}: holds the tables {names} of another program; use another file or database")
    return found


def _upgrade(connection: Connection, folder: Path) -> None:
    # alembic takes a third of a second to import and is needed once in the life of a store
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection, "version_table": VERSION_TABLE})
    config.set_main_option("script_location", _escaped(Path(__file__).parent))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", _escaped(folder))
    command.upgrade(config, "head")


def _escaped(path: Path) -> str:
    return str(path).replace("%", "%%")
