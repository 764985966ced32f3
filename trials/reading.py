"""The reading half of the store: statements in, frozen rows out, no query per row."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select

from space.errors import nearest
from trials import outline
from trials.engine import Database
from trials.lease import holder, moment
from trials.rows import (
    STATES,
    Annotation,
    ArchitectureRow,
    ArtifactRow,
    EpochRow,
    MeasurementRow,
    Outline,
    State,
    StoreError,
    StudyRow,
    StudySummary,
    TrialRow,
    WorkerSummary,
)
from trials.schema import architecture, artifact, epoch_metric, measurement, study, trial

_STUDY = [study.c[n] for n in ("id", "name", "space", "config", "code_version", "data_fingerprint", "created")]
_WHOLE_TRIAL = select(trial, architecture.c.json.label("arch_json")).join(architecture)
_MEASUREMENT = [c for c in measurement.c if c.name != "key"]


class Reader:
    """What can be asked of a store. Every answer is a frozen value as of one moment."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def study(self, name: str) -> StudyRow:
        """Return a study by name.

        Raises:  StoreError if there is none; it names the nearest one.
        """
        with self._database.read() as connection:
            row = connection.execute(select(*_STUDY).where(study.c.name == name)).one_or_none()
            if row is None:
                raise self._unknown_study(connection, name)
        return StudyRow(**row._mapping)

    def studies(self) -> list[StudySummary]:
        """Return all studies, oldest first."""
        return self._summaries(select(study).order_by(study.c.id))

    def summary(self, name: str) -> StudySummary:
        """Return how far one study got.

        Raises:  StoreError if there is none; it names the nearest one.
        """
        found = self._summaries(select(study).where(study.c.name == name))
        if not found:
            with self._database.read() as connection:
                raise self._unknown_study(connection, name)
        return found[0]

    def trials(
        self,
        study_id: int,
        *,
        state: State | Collection[State] | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[TrialRow]:
        """Return a study's trials in the order of their numbers, with their measured values.

        `state` keeps those in one state or in one of several; `offset` and `limit` count what is kept.
        """
        chosen = select(trial.c.id).where(trial.c.study_id == study_id)
        if state is not None:
            chosen = chosen.where(trial.c.state.in_(_states(state)))
        if limit is not None or offset:
            # SQLite has no OFFSET without LIMIT; SQLAlchemy writes the LIMIT that means "all"
            chosen = chosen.order_by(trial.c.number).offset(offset).limit(limit)
        with self._database.read() as connection:
            return self._trials(connection, chosen)

    def trial(self, study_id: int, number: int) -> TrialRow:
        """Return one trial by its number.

        Raises:  StoreError if the study has no such trial; it says which numbers there are.
        """
        chosen = select(trial.c.id).where(trial.c.study_id == study_id, trial.c.number == number)
        with self._database.read() as connection:
            if found := self._trials(connection, chosen):
                return found[0]
            row = connection.execute(
                select(study.c.name, study.c.trial_count).where(study.c.id == study_id)
            ).one_or_none()
        if row is None:
            raise StoreError(f"study id {study_id}: not in store {self._database.label}")
        allowed = f"0 to {row.trial_count - 1}" if row.trial_count else "none yet, the study has no trials"
        raise StoreError(f"study {row.name!r}: no trial {number}, allowed: {allowed}")

    def numbered(self, study_id: int, numbers: Sequence[int]) -> list[TrialRow]:
        """Return the trials of a study with these numbers (a few hundred at most), by number."""
        chosen = select(trial.c.id).where(trial.c.study_id == study_id, trial.c.number.in_(numbers))
        with self._database.read() as connection:
            return self._trials(connection, chosen) if numbers else []

    def epochs(self, study_id: int) -> list[EpochRow]:
        """Return the learning curves of a study's trials, by trial number and epoch."""
        return self._epochs(trial.c.study_id == study_id)

    def epochs_of(self, trial_id: int) -> list[EpochRow]:
        """Return the learning curve of one trial."""
        return self._epochs(trial.c.id == trial_id)

    def architecture(self, arch_id: str) -> ArchitectureRow:
        """Return a point by its id.

        Raises:  StoreError if the store has never seen it.
        """
        with self._database.read() as connection:
            row = connection.execute(select(architecture).where(architecture.c.id == arch_id)).one_or_none()
        if row is None:
            raise StoreError(f"architecture {arch_id!r}: not in store {self._database.label}")
        return ArchitectureRow(**row._mapping)

    def measurements_of(self, trial_id: int) -> list[MeasurementRow]:
        """Return everything measured on a trial, in the order of recording."""
        return self._measurements(measurement.c.trial_id == trial_id)

    def measurements_on(self, arch_id: str) -> list[MeasurementRow]:
        """Return everything measured on a point, in any study or none, in the order of recording."""
        return self._measurements(measurement.c.arch_id == arch_id)

    def artifacts_of(self, trial_id: int) -> list[ArtifactRow]:
        """Return the files of a trial, in the order of recording."""
        return self._artifacts(artifact.c.trial_id == trial_id)

    def artifacts(self) -> list[ArtifactRow]:
        """Return all files beside this store, in the order of recording."""
        return self._artifacts(None)

    # -- whole studies

    def pulse(self) -> outline.Pulse:
        """Return a value that differs from an earlier one if trials, epochs, measurements or notes have changed."""
        with self._database.read() as connection:
            return outline.pulse(connection)

    def outlines(self, study_id: int, *, after: int = -1, again: Collection[int] = ()) -> list[Outline]:
        """Return in few fields the trials numbered above `after`, and those with the ids `again`, by number."""
        with self._database.read() as connection:
            return outline.outlines(connection, study_id, after, again)

    def values(self, study_id: int, *, after: int = 0) -> list[tuple[int, int, str, float]]:
        """Return (measurement id, trial id, metric, value) recorded after that measurement, in that order."""
        with self._database.read() as connection:
            return outline.values(connection, study_id, after)

    def choices(self, study_id: int, numbers: Sequence[int]) -> dict[int, dict[str, Any]]:
        """Return the choices of these trials by number, in the coordinates of the study's space."""
        with self._database.read() as connection:
            return outline.choices(connection, study_id, numbers)

    def annotations(self, study_id: int) -> dict[int, Annotation]:
        """Return what people wrote beside the trials of a study, by number."""
        with self._database.read() as connection:
            return outline.notes(connection, study_id)

    def workers(self, study_id: int) -> list[WorkerSummary]:
        """Return what each worker has done in a study, the latest at work first."""
        with self._database.read() as connection:
            return outline.workers(connection, study_id)

    def trials_of(self, arch_id: str) -> list[tuple[str, int]]:
        """Return (study, number) of every trial of a point, oldest first."""
        query = select(study.c.name, trial.c.number).join(study).where(trial.c.arch_id == arch_id).order_by(trial.c.id)
        with self._database.read() as connection:
            return [(name, number) for name, number in connection.execute(query)]

    # -- statements

    def _unknown_study(self, connection: Connection, name: str) -> StoreError:
        names = list(connection.execute(select(study.c.name).order_by(study.c.id)).scalars())
        hint = nearest(name, names)
        known = hint or ("; known: " + ", ".join(map(repr, names[-10:])) if names else "; it has no studies yet")
        return StoreError(f"study {name!r}: not in store {self._database.label}{known}")

    def _summaries(self, chosen: Select[Any]) -> list[StudySummary]:
        grouped = select(
            trial.c.study_id,
            trial.c.state,
            func.count().label("n"),
            func.min(trial.c.started, type_=trial.c.started.type).label("started"),
            func.max(trial.c.finished, type_=trial.c.finished.type).label("finished"),
            (func.count() - func.count(trial.c.started)).label("never_started"),
        ).group_by(trial.c.study_id, trial.c.state)
        with self._database.read() as connection:
            now = moment(connection)
            rows = connection.execute(chosen).all()
            groups: dict[int, list[Row[*tuple[Any, ...]]]] = defaultdict(list)
            for group in connection.execute(grouped.where(trial.c.study_id.in_([r.id for r in rows]))):
                groups[group.study_id].append(group)
        return [
            StudySummary(
                id=row.id,
                name=row.name,
                created=row.created,
                budget=row.config.get("budget"),
                counts=dict.fromkeys(STATES, 0) | {g.state: g.n for g in groups[row.id]},
                started=min((g.started for g in groups[row.id] if g.started), default=None),
                finished=max((g.finished for g in groups[row.id] if g.finished), default=None),
                driver=holder(row, now),
                adopted=sum(g.never_started for g in groups[row.id] if g.state == "complete"),
                waiting=sum(g.n - g.never_started for g in groups[row.id] if g.state == "queued"),
            )
            for row in rows
        ]

    def _trials(self, connection: Connection, chosen: Select[Any]) -> list[TrialRow]:
        values: dict[int, dict[str, float]] = defaultdict(dict)
        taken = select(measurement.c.trial_id, measurement.c.metric, measurement.c.value)
        for trial_id, metric, value in connection.execute(
            taken.where(measurement.c.trial_id.in_(chosen)).order_by(measurement.c.id)
        ):
            values[trial_id].setdefault(metric, value)
        rows = connection.execute(_WHOLE_TRIAL.where(trial.c.id.in_(chosen)).order_by(trial.c.number))
        return [TrialRow(**row._mapping, values=values.get(row.id, {})) for row in rows]

    def _epochs(self, which: Any) -> list[EpochRow]:
        query = (
            select(epoch_metric, trial.c.number)
            .join(trial)
            .where(which)
            .order_by(trial.c.number, epoch_metric.c.epoch, epoch_metric.c.metric)
        )
        epochs: dict[tuple[int, int], EpochRow] = {}
        with self._database.read() as connection:
            for row in connection.execute(query):
                value = math.nan if row.value is None else row.value
                known = epochs.get((row.trial_id, row.epoch))
                if known is None:
                    known = EpochRow(row.trial_id, row.number, row.epoch, row.attempt, {}, row.created)
                    epochs[row.trial_id, row.epoch] = known
                known.metrics[row.metric] = value
        return list(epochs.values())

    def _measurements(self, which: Any) -> list[MeasurementRow]:
        with self._database.read() as connection:
            rows = connection.execute(select(*_MEASUREMENT).where(which).order_by(measurement.c.id))
            return [MeasurementRow(**row._mapping) for row in rows]

    def _artifacts(self, which: Any) -> list[ArtifactRow]:
        query = select(artifact).order_by(artifact.c.id)
        with self._database.read() as connection:
            rows = connection.execute(query if which is None else query.where(which))
            return [ArtifactRow(**row._mapping) for row in rows]


def _states(state: State | Collection[State]) -> list[str]:
    wanted: list[str] = [state] if isinstance(state, str) else list(state)
    for word in wanted:
        if word not in STATES:
            raise StoreError(f"state: {word!r}, allowed: {', '.join(STATES)}{nearest(word, STATES)}")
    return wanted
