"""Create the six tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)
STATES = "'queued', 'running', 'complete', 'stopped', 'failed', 'duplicate', 'infeasible'"


def upgrade() -> None:
    """Take an empty database to version 0001."""
    _study()
    _architecture()
    _trial()
    _epoch_metric()
    _measurement()
    _artifact()


def _study() -> None:
    op.create_table(
        "study",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("space", sa.Text, nullable=False),
        sa.Column("config", sa.JSON, nullable=False),
        sa.Column("code_version", sa.Text, nullable=False),
        sa.Column("data_fingerprint", sa.Text, nullable=False),
        sa.Column("trial_count", sa.Integer, nullable=False),
        sa.Column("lease_token", sa.String(32)),
        sa.Column("lease_host", sa.Text),
        sa.Column("lease_pid", sa.BigInteger),
        sa.Column("lease_beat", MOMENT),
        sa.Column("created", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_study"),
        sa.UniqueConstraint("name", name="uq_study_name"),
    )


def _architecture() -> None:
    op.create_table(
        "architecture",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("json", sa.Text, nullable=False),
        sa.Column("params", sa.BigInteger),
        sa.Column("macs", sa.BigInteger),
        sa.Column("created", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_architecture"),
    )


def _trial() -> None:
    op.create_table(
        "trial",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("study_id", ROW_ID, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("sampler", sa.Text, nullable=False),
        sa.Column("origin", sa.Text),
        sa.Column("arch_id", sa.String(64), nullable=False),
        sa.Column("params", sa.BigInteger),
        sa.Column("macs", sa.BigInteger),
        sa.Column("choices", sa.JSON, nullable=False),
        sa.Column("duplicate_of", sa.Integer),
        sa.Column("started", MOMENT),
        sa.Column("finished", MOMENT),
        sa.Column("worker", sa.Text),
        sa.Column("epochs", sa.Integer, nullable=False),
        sa.Column("extra", sa.JSON, nullable=False),
        sa.Column("created", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_trial"),
        sa.UniqueConstraint("study_id", "number", name="uq_trial_study_id_number"),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name="fk_trial_study_id"),
        sa.ForeignKeyConstraint(["arch_id"], ["architecture.id"], name="fk_trial_arch_id"),
        sa.ForeignKeyConstraint(
            ["study_id", "duplicate_of"], ["trial.study_id", "trial.number"], name="fk_trial_study_id_duplicate_of"
        ),
        sa.CheckConstraint(f"state IN ({STATES})", name=op.f("ck_trial_state")),
    )
    op.create_index("ix_trial_study_id_state", "trial", ["study_id", "state"])
    op.create_index("ix_trial_arch_id", "trial", ["arch_id"])


def _epoch_metric() -> None:
    op.create_table(
        "epoch_metric",
        sa.Column("trial_id", ROW_ID, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("metric", sa.String(100), nullable=False),
        sa.Column("value", sa.Float(53)),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("created", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("trial_id", "epoch", "metric", name="pk_epoch_metric"),
        sa.ForeignKeyConstraint(["trial_id"], ["trial.id"], name="fk_epoch_metric_trial_id"),
        sqlite_with_rowid=False,
    )


def _measurement() -> None:
    op.create_table(
        "measurement",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("key", sa.String(32), nullable=False),
        sa.Column("trial_id", ROW_ID),
        sa.Column("arch_id", sa.String(64), nullable=False),
        sa.Column("metric", sa.String(100), nullable=False),
        sa.Column("value", sa.Float(53), nullable=False),
        sa.Column("unit", sa.Text, nullable=False),
        sa.Column("spread", sa.Float(53)),
        sa.Column("device", sa.Text, nullable=False),
        sa.Column("circumstances", sa.JSON, nullable=False),
        sa.Column("evaluator", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("seed", sa.BigInteger),
        sa.Column("created", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_measurement"),
        sa.UniqueConstraint("key", name="uq_measurement_key"),
        sa.ForeignKeyConstraint(["trial_id"], ["trial.id"], name="fk_measurement_trial_id"),
        sa.ForeignKeyConstraint(["arch_id"], ["architecture.id"], name="fk_measurement_arch_id"),
    )
    op.create_index("ix_measurement_trial_id", "measurement", ["trial_id"])
    op.create_index("ix_measurement_arch_id_metric", "measurement", ["arch_id", "metric"])


def _artifact() -> None:
    op.create_table(
        "artifact",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("trial_id", ROW_ID),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("created", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_artifact"),
        sa.UniqueConstraint("path", name="uq_artifact_path"),
        sa.ForeignKeyConstraint(["trial_id"], ["trial.id"], name="fk_artifact_trial_id"),
    )
    op.create_index("ix_artifact_trial_id", "artifact", ["trial_id"])
