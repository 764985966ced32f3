"""The tables of the store, the same on SQLite and PostgreSQL.

study 1--n trial n--1 architecture;  trial 1--n epoch_metric, measurement, artifact;  trial 1--1 annotation.
A change here needs a migration beside it (`trials/migrations/versions`); a test compares the two.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

from trials.rows import STATES


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC; time-zone aware in Python on every database (SQLite keeps none of its own)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Turn any aware moment into UTC, and into a naive one for SQLite."""
        if value is None:
            return None
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the moment in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers rows by itself only in columns of the type INTEGER
RowId = BigInteger().with_variant(Integer(), "sqlite")


def _created() -> Column[Any]:
    return Column("created", UtcDateTime, nullable=False)


study = Table(
    "study",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("name", String(100), nullable=False, unique=True),
    Column("space", Text, nullable=False),
    Column("config", JSON, nullable=False),
    Column("code_version", Text, nullable=False),
    Column("data_fingerprint", Text, nullable=False),
    Column("trial_count", Integer, nullable=False),
    Column("lease_token", String(32)),
    Column("lease_host", Text),
    Column("lease_pid", BigInteger),
    Column("lease_beat", UtcDateTime),
    _created(),
)

architecture = Table(
    "architecture",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("json", Text, nullable=False),
    Column("params", BigInteger),
    Column("macs", BigInteger),
    _created(),
)

trial = Table(
    "trial",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("study_id", ForeignKey("study.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("reason", Text),
    Column("seed", BigInteger, nullable=False),
    Column("sampler", Text, nullable=False),
    Column("origin", Text),
    Column("arch_id", ForeignKey("architecture.id"), nullable=False),
    Column("params", BigInteger),
    Column("macs", BigInteger),
    Column("choices", JSON, nullable=False),
    Column("duplicate_of", Integer),
    Column("started", UtcDateTime),
    Column("finished", UtcDateTime),
    Column("worker", Text),
    Column("epochs", Integer, nullable=False),
    Column("extra", JSON, nullable=False),
    _created(),
    UniqueConstraint("study_id", "number"),
    ForeignKeyConstraint(["study_id", "duplicate_of"], ["trial.study_id", "trial.number"]),
    CheckConstraint("state IN ({})".format(", ".join(f"'{s}'" for s in STATES)), name="state"),
    # counting, and first and last moments, without touching the table
    Index(None, "study_id", "state", "started", "finished"),
    Index(None, "study_id", "worker", "state", "started", "finished"),
    Index(None, "arch_id"),
)

epoch_metric = Table(
    "epoch_metric",
    metadata,
    Column("trial_id", ForeignKey("trial.id"), primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("metric", String(100), primary_key=True),
    # NULL stands for NaN, which SQLite cannot hold
    Column("value", Float(53)),
    Column("attempt", Integer, nullable=False),
    _created(),
    sqlite_with_rowid=False,
)

measurement = Table(
    "measurement",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("key", String(32), nullable=False, unique=True),
    Column("trial_id", ForeignKey("trial.id")),
    Column("arch_id", ForeignKey("architecture.id"), nullable=False),
    Column("metric", String(100), nullable=False),
    Column("value", Float(53), nullable=False),
    Column("unit", Text, nullable=False),
    Column("spread", Float(53)),
    Column("device", Text, nullable=False),
    Column("circumstances", JSON, nullable=False),
    Column("evaluator", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("seed", BigInteger),
    _created(),
    # whole studies are read by it without touching the table
    Index(None, "trial_id", "metric", "value"),
    Index(None, "arch_id", "metric"),
)

artifact = Table(
    "artifact",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("trial_id", ForeignKey("trial.id")),
    Column("kind", Text, nullable=False),
    Column("path", Text, nullable=False, unique=True),
    Column("sha256", String(64), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    _created(),
    Index(None, "trial_id"),
)

annotation = Table(
    "annotation",
    metadata,
    Column("trial_id", ForeignKey("trial.id"), primary_key=True),
    Column("note", Text, nullable=False),
    Column("tags", JSON, nullable=False),
    Column("hidden", Boolean, nullable=False),
    Column("changed", UtcDateTime, nullable=False),
)
