"""Reading whole studies: few fields of many trials, counted and grouped by the database.

Everything here takes the position up to which the caller knows the study, so that a study that grows is read once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from operator import attrgetter, itemgetter
from typing import Any

from sqlalchemy import Connection, Integer, func, select

from trials.lease import holder, moment
from trials.rows import Annotation, Outline, WorkerSummary
from trials.schema import annotation, measurement, study, trial

_BATCH = 500
"""Values in one IN list; SQLite takes 999 and more."""
_FIELDS = (
    trial.c.id,
    trial.c.number,
    trial.c.state,
    trial.c.params,
    trial.c.macs,
    trial.c.extra["activations"].as_string().cast(Integer),
    trial.c.epochs,
    trial.c.reason,
)

Pulse = tuple[tuple[Any, ...], ...]
"""What changes whenever a study does; compared, never read."""


def pulse(connection: Connection) -> Pulse:
    """Return what differs once anything a picture shows does: studies, drivers, trials by state, epochs, notes."""
    now = moment(connection)
    studies = [(row.id, holder(row, now), str(row.config), row.space) for row in connection.execute(select(study))]
    counts = select(trial.c.study_id, trial.c.state, func.count()).group_by(trial.c.study_id, trial.c.state)
    running = select(trial.c.id, trial.c.attempt, trial.c.epochs).where(trial.c.state == "running")
    notes = select(func.count(), func.max(annotation.c.changed))
    measured = select(func.max(measurement.c.id))
    asked = (counts, running, notes, measured)
    return (*studies, *(tuple(row) for query in asked for row in connection.execute(query)))


def outlines(connection: Connection, study_id: int, after: int, again: Collection[int]) -> list[Outline]:
    """Return the trials numbered above `after`, and those with the ids `again`, by number."""
    query = select(*_FIELDS).where(trial.c.study_id == study_id)
    rows = [*connection.execute(query.where(trial.c.number > after)).all()]
    for part in _parts(sorted(again)):
        rows += connection.execute(query.where(trial.c.number <= after, trial.c.id.in_(part))).all()
    return sorted(map(Outline._make, rows), key=attrgetter("number"))


def values(connection: Connection, study_id: int, after: int) -> list[tuple[int, int, str, float]]:
    """Return (measurement id, trial id, metric, value) recorded after that measurement, in the order of recording."""
    query = select(measurement.c.id, measurement.c.trial_id, measurement.c.metric, measurement.c.value)
    query = query.join(trial, trial.c.id == measurement.c.trial_id).where(trial.c.study_id == study_id)
    query = query.where(measurement.c.id > after) if after else query
    rows: list[Any] = [*connection.execute(query).all()]
    return sorted(rows, key=itemgetter(0))


def choices(connection: Connection, study_id: int, numbers: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Return the choices of these trials by number."""
    found: dict[int, dict[str, Any]] = {}
    for part in _parts(numbers):
        query = select(trial.c.number, trial.c.choices).where(trial.c.study_id == study_id, trial.c.number.in_(part))
        found.update((row.number, row.choices) for row in connection.execute(query))
    return found


def notes(connection: Connection, study_id: int) -> dict[int, Annotation]:
    """Return what people wrote in a study, by trial number."""
    query = select(trial.c.number, annotation.c.note, annotation.c.tags, annotation.c.hidden)
    query = query.join(annotation, annotation.c.trial_id == trial.c.id).where(trial.c.study_id == study_id)
    return {row.number: Annotation(row.note, tuple(row.tags), row.hidden) for row in connection.execute(query)}


def workers(connection: Connection, study_id: int) -> list[WorkerSummary]:
    """Return what each worker has done in a study, the latest at work first."""
    query = (
        select(
            trial.c.worker,
            trial.c.state,
            func.count().label("n"),
            func.min(trial.c.started, type_=trial.c.started.type).label("first"),
            func.max(trial.c.started, type_=trial.c.started.type).label("began"),
            func.max(trial.c.finished, type_=trial.c.finished.type).label("ended"),
        )
        .where(trial.c.study_id == study_id, trial.c.worker.is_not(None))
        .group_by(trial.c.worker, trial.c.state)
    )
    groups: dict[str, list[Any]] = defaultdict(list)
    for row in connection.execute(query):
        groups[row.worker].append(row)
    found = [
        WorkerSummary(
            worker,
            {row.state: row.n for row in rows},
            min((row.first for row in rows if row.first), default=None),
            max((moment for row in rows for moment in (row.began, row.ended) if moment), default=None),
        )
        for worker, rows in groups.items()
    ]
    return sorted(found, key=lambda each: (each.last is None, -_stamp(each.last), each.worker))


def _stamp(moment: datetime | None) -> float:
    return moment.timestamp() if moment else 0.0


def _parts(items: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]
