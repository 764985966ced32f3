"""Add what people write beside a trial, and the indexes that let a whole study be looked at."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Take a database of version 0001 to version 0002."""
    op.create_table(
        "annotation",
        sa.Column("trial_id", ROW_ID, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("tags", sa.JSON, nullable=False),
        sa.Column("hidden", sa.Boolean, nullable=False),
        sa.Column("changed", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("trial_id", name="pk_annotation"),
        sa.ForeignKeyConstraint(["trial_id"], ["trial.id"], name="fk_annotation_trial_id"),
    )
    op.drop_index("ix_measurement_trial_id", "measurement")
    op.create_index("ix_measurement_trial_id_metric_value", "measurement", ["trial_id", "metric", "value"])
    op.drop_index("ix_trial_study_id_state", "trial")
    op.create_index("ix_trial_study_id_state_started_finished", "trial", ["study_id", "state", "started", "finished"])
    op.create_index(
        "ix_trial_study_id_worker_state_started_finished",
        "trial",
        ["study_id", "worker", "state", "started", "finished"],
    )
