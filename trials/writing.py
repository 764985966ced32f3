"""The statements by which the store writes; each runs inside a transaction of `trials/store.py`."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Executable, Row, Table, bindparam, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from trials.lease import Lease, lost_message
from trials.rows import OPEN, Annotation, State, StoreError
from trials.schema import annotation, architecture, artifact, epoch_metric, measurement, study, trial

if TYPE_CHECKING:
    from trials.measurement import Measured

Evaluation = tuple[str, int, "Mapping[str, Measured]"]
"""Kind and version of an evaluator, and what it measured by the name of the metric."""

Leases = Mapping[int, Lease]
"""The leases a store holds, by study id. A study without one may be written by anybody."""

# statements are built once: building one costs as much as running it
_CLAIM = (
    select(trial.c.state, trial.c.attempt, trial.c.arch_id, trial.c.seed, trial.c.number, trial.c.study_id)
    .add_columns(study.c.name, study.c.lease_token)
    .join(study)
    .where(trial.c.id == bindparam("claimed"))
    .with_for_update()
)
_COUNT = (
    update(study)
    .where(study.c.id == bindparam("counted"))
    .values(trial_count=study.c.trial_count + 1)
    .returning(study.c.trial_count, study.c.name, study.c.lease_token)
)
_CHANGE = update(trial).where(trial.c.id == bindparam("changed"))
_PUT_TRIAL = insert(trial).returning(trial.c.id)


NOT_STARTED: Mapping[str, Any] = {"attempt": 0, "started": None, "worker": None, "epochs": 0}
"""What a trial has before any worker begins it."""

_NEW: tuple[State, ...] = ("queued", "duplicate", "infeasible", "failed")


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a write has to know of the trial it changes."""

    label: str
    state: State
    attempt: int
    arch_id: str
    seed: int


@dataclass(frozen=True, slots=True)
class Subject:
    """What was measured, by what."""

    trial_id: int | None
    arch_id: str
    evaluator: str
    version: int
    seed: int | None


def claim(connection: Connection, trial_id: int, leases: Leases) -> Claimed:
    """Read a trial for changing it; others wait until this transaction ends.

    Raises:  StoreError if there is no such trial or its study's lease is lost.
    """
    row = connection.execute(_CLAIM, {"claimed": trial_id}).one_or_none()
    if row is None:
        raise StoreError(f"trial id {trial_id}: not in the store")
    _check_token(row.study_id, row, leases)
    return Claimed(f"trial {row.name}:{row.number}", row.state, row.attempt, row.arch_id, row.seed)


def check_lease(connection: Connection, study_id: int, leases: Leases) -> None:
    """Raise StoreError if the store's lease of a study has gone to another process, or there is no such study."""
    query = select(study.c.name, study.c.lease_token).where(study.c.id == study_id).with_for_update()
    _check_token(study_id, _known(connection.execute(query).one_or_none(), study_id), leases)


def next_number(connection: Connection, study_id: int, leases: Leases) -> int:
    """Return the number of a study's next trial; it is given out only if the transaction is stored."""
    row = _known(connection.execute(_COUNT, {"counted": study_id}).one_or_none(), study_id)
    _check_token(study_id, row, leases)
    return row.trial_count - 1


def _known(row: Row[*tuple[Any, ...]] | None, study_id: int) -> Row[*tuple[Any, ...]]:
    if row is None:
        raise StoreError(f"study id {study_id}: not in the store")
    return row


def _check_token(study_id: int, row: Row[*tuple[Any, ...]], leases: Leases) -> None:
    lease = leases.get(study_id)
    if lease is not None and lease.token != row.lease_token:
        lease.mark_lost()
        raise StoreError(lost_message(row.name))


def change_trial(connection: Connection, trial_id: int, **values: Any) -> None:
    """Change columns of a trial."""
    connection.execute(_CHANGE, {"changed": trial_id, **values})


def begin_trial(connection: Connection, trial_id: int, row: Claimed, worker: str, attempt: int) -> None:
    """Record that a worker begins an attempt at a claimed trial.

    Raises:  StoreError if the trial is finished, or has had that attempt.
    """
    if row.state not in OPEN:
        raise StoreError(f"{row.label}: {row.state}, a finished trial cannot be started again")
    least = row.attempt + 1 if row.state == "running" else max(row.attempt, 1)
    if attempt < least:
        raise StoreError(f"{row.label}: attempt {attempt}, allowed: {least} or more, as it is {row.state}")
    begun = {"state": "running", "attempt": attempt, "worker": storable(worker), "reason": None}
    change_trial(connection, trial_id, **begun, started=datetime.now(UTC))


def put_trial(connection: Connection, values: dict[str, Any]) -> int:
    """Insert a trial and return its id."""
    return connection.execute(_PUT_TRIAL, values).scalar_one()


def set_config(connection: Connection, study_id: int, config: dict[str, Any], space: str | None = None) -> None:
    """Replace a study's config and, where one is given, its space."""
    values = {"config": config} | ({} if space is None else {"space": space})
    connection.execute(update(study).where(study.c.id == study_id).values(values))


def put_architecture(
    connection: Connection, arch_id: str, arch_json: str, params: int | None, macs: int | None, now: datetime
) -> str:
    """Store a point unless it is there, fill in numbers it lacks, and return its JSON as stored."""
    row = {"id": arch_id, "json": arch_json, "params": params, "macs": macs, "created": now}
    return connection.execute(_put_architecture(connection.dialect.name), row).scalar_one()


@cache
def _put_architecture(dialect: str) -> Executable:
    new = _insert(dialect, architecture)
    filled = {n: func.coalesce(architecture.c[n], new.excluded[n]) for n in ("params", "macs")}
    return new.on_conflict_do_update(index_elements=["id"], set_=filled).returning(architecture.c.json)


def put_epoch(connection: Connection, trial_id: int, attempt: int, epoch: int, metrics: Mapping[str, float]) -> None:
    """Store one epoch's numbers, in the place of those that are there."""
    now = datetime.now(UTC)
    rows = [
        {
            "trial_id": trial_id,
            "epoch": epoch,
            "metric": metric,
            "value": None if math.isnan(value) else float(value),
            "attempt": attempt,
            "created": now,
        }
        for metric, value in metrics.items()
    ]
    _upsert(connection, epoch_metric, rows, ("trial_id", "epoch", "metric"), ("value", "attempt", "created"))


def put_measurements(connection: Connection, subject: Subject, measurements: Mapping[str, Measured]) -> None:
    """Store measured numbers; one taken in the same circumstances before is replaced.

    Raises:  StoreError if a value or spread is not finite.
    """
    now = datetime.now(UTC)
    rows = [_measurement(subject, metric, measured, now) for metric, measured in measurements.items()]
    _upsert(connection, measurement, rows, ("key",), ("value", "unit", "spread"))


def _measurement(subject: Subject, metric: str, measured: Measured, now: datetime) -> dict[str, Any]:
    for what, number in (("value", measured.value), ("spread", measured.spread)):
        if number is not None and not math.isfinite(number):
            raise StoreError(f"measurement {metric!r}: {what} {number!r}, allowed: finite numbers")
    circumstances = dict(measured.circumstances)
    what = subject.arch_id if subject.trial_id is None else subject.trial_id
    same = [what, metric, subject.evaluator, subject.version, subject.seed, circumstances]
    text = json.dumps(same, sort_keys=True, default=str)
    return {
        "key": hashlib.sha256(text.encode()).hexdigest()[:32],
        "trial_id": subject.trial_id,
        "arch_id": subject.arch_id,
        "metric": metric,
        "value": float(measured.value),
        "unit": measured.unit,
        "spread": None if measured.spread is None else float(measured.spread),
        "device": str(circumstances.get("device", "")),
        "circumstances": circumstances,
        "evaluator": subject.evaluator,
        "version": subject.version,
        "seed": subject.seed,
        "created": now,
    }


def put_annotation(connection: Connection, trial_id: int, note: Annotation) -> None:
    """Store what somebody wrote beside a trial, in the place of what was there."""
    row = {
        "trial_id": trial_id,
        "note": storable(note.note),
        "tags": [storable(tag) for tag in note.tags],
        "hidden": note.hidden,
        "changed": datetime.now(UTC),
    }
    _upsert(connection, annotation, [row], ("trial_id",), ("note", "tags", "hidden", "changed"))


def put_artifact(connection: Connection, row: dict[str, Any]) -> None:
    """Store a file's row; that of the same path is replaced."""
    _upsert(connection, artifact, [row], ("path",), ("trial_id", "kind", "sha256", "bytes", "created"))


def _upsert(
    connection: Connection, table: Table, rows: list[dict[str, Any]], key: tuple[str, ...], rest: tuple[str, ...]
) -> None:
    if rows:
        connection.execute(_upserting(connection.dialect.name, table, key, rest), rows)


@cache
def _upserting(dialect: str, table: Table, key: tuple[str, ...], rest: tuple[str, ...]) -> Executable:
    new = _insert(dialect, table)
    return new.on_conflict_do_update(index_elements=key, set_={name: new.excluded[name] for name in rest})


def _insert(dialect: str, table: Table) -> sqlite.Insert | postgresql.Insert:
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)


def check_new(state: State, seed: int) -> None:
    """Raise StoreError for a state that no new trial has, or a seed out of range."""
    if state not in _NEW:
        raise StoreError(f"new trial: state {state!r}, allowed: {', '.join(_NEW)}")
    check_seed(seed)


def check_seed(seed: int) -> None:
    """Raise StoreError if a seed does not fit a database's integer."""
    if not 0 <= seed < 2**63:
        raise StoreError(f"seed: {seed}, allowed: 0 to {2**63 - 1}")


def storable(text: str | None) -> str | None:
    """Return text that every database takes: no NUL characters, no halves of surrogate pairs."""
    if text is None:
        return None
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode("utf-8")
