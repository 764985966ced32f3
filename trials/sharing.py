"""What studies of one store have in common: the result of a trial serves every study that asks for the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, insert, select

from trials import writing
from trials.lease import Lease, holder, moment
from trials.measurement import Measured
from trials.reading import Reader
from trials.rows import REUSED, Rival, StoreError, TrialRow
from trials.schema import architecture, epoch_metric, measurement, study, trial

_BATCH = 500
"""Values in one IN list; SQLite takes 999 and more."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """A complete trial of another study, in the coordinates of the study that takes it over."""

    row: TrialRow
    params: int | None
    macs: int | None
    choices: Mapping[str, Any]
    extra: Mapping[str, Any]


class Sharing(Reader):
    """The part of the store by which one study uses what another one has measured."""

    _leases: dict[int, Lease]

    def rivals(self, row: TrialRow) -> list[Rival]:
        """Return the trials of other studies with the point and seed of this one that are complete or being run."""
        with self._database.read() as connection:
            return _rivals(connection, row)

    def start_unless_rivalled(self, row: TrialRow, *, worker: str, attempt: int, seen: Collection[Rival]) -> bool:
        """Start a trial as `start_trial` does, unless it has rivals besides those `seen`; tell whether it was started.

        Of two processes that start the same point at the same moment, one is told False: it must look at its rivals.
        """
        known = {(each.trial_id, each.complete) for each in seen}
        with self._database.write() as connection:
            claimed = writing.claim(connection, row.id, self._leases)
            # on a server the point's row is what the processes queue up for; a file has one writer anyway
            connection.execute(select(architecture.c.id).where(architecture.c.id == row.arch_id).with_for_update())
            if any((each.trial_id, each.complete) not in known for each in _rivals(connection, row)):
                return False
            writing.begin_trial(connection, row.id, claimed, worker, attempt)
        return True

    def strike_out(self, trial_id: int, reason: str) -> None:
        """Give a complete trial a reason why it is on no front; its state and numbers stay."""
        with self._database.write() as connection:
            row = writing.claim(connection, trial_id, self._leases)
            if row.state != "complete":
                raise StoreError(f"{row.label}: {row.state}, only a complete trial can leave a front")
            writing.change_trial(connection, trial_id, reason=writing.storable(reason))

    def measured_by(self, study_id: int) -> dict[int, set[tuple[str, int]]]:
        """Return kind and version of the evaluators that measured each trial of a study, by the trial's id."""
        columns = (measurement.c.trial_id, measurement.c.evaluator, measurement.c.version)
        query = select(*columns).distinct().join(trial, trial.c.id == measurement.c.trial_id)
        found: dict[int, set[tuple[str, int]]] = defaultdict(set)
        with self._database.read() as connection:
            for trial_id, kind, version in connection.execute(query.where(trial.c.study_id == study_id)):
                found[trial_id].add((kind, version))
        return dict(found)

    def adopt_trials(self, study_id: int, adopted: Sequence[Adopted]) -> None:
        """Add complete trials of other studies to a study, with measurements and curves; all of them or none."""
        now = datetime.now(UTC)
        with self._database.write() as connection:
            pairs: dict[int, int] = {}
            for each in adopted:
                number = writing.next_number(connection, study_id, self._leases)
                pairs[each.row.id] = writing.put_trial(connection, _copied(each, study_id, number, now))
            _copy_results(connection, pairs, now)


def _rivals(connection: Connection, row: TrialRow) -> list[Rival]:
    query = (
        select(trial.c.id.label("trial_id"), trial.c.number, trial.c.state, study)
        .join(study)
        .where(trial.c.arch_id == row.arch_id, trial.c.seed == row.seed, trial.c.study_id != row.study_id)
        .where(trial.c.state.in_(("complete", "running")))
        .order_by(trial.c.id)
    )
    now = moment(connection)
    return [
        Rival(each.trial_id, each.name, each.number, complete, each.config, each.data_fingerprint)
        for each in connection.execute(query)
        if (complete := each.state == "complete") or holder(each, now) is not None
    ]


def take_over(connection: Connection, trial_id: int, source: int, now: datetime) -> None:
    """Give a trial the learning curve of another one, and write down which; one never started took no time."""
    query = select(trial.c.extra, trial.c.epochs, trial.c.number, study.c.name).join(study)
    theirs = connection.execute(query.where(trial.c.id == source)).one()
    mine = connection.execute(select(trial.c.extra, trial.c.started).where(trial.c.id == trial_id)).one()
    mark = theirs.extra.get(REUSED) or {"study": theirs.name, "trial": theirs.number}
    _copy_curves(connection, {source: trial_id}, now)
    started = mine.started or now
    writing.change_trial(
        connection, trial_id, extra={**mine.extra, REUSED: mark}, epochs=theirs.epochs, started=started
    )


def _copied(each: Adopted, study_id: int, number: int, now: datetime) -> dict[str, Any]:
    source = each.row
    return dict(writing.NOT_STARTED) | {
        "study_id": study_id,
        "number": number,
        "state": "complete",
        "reason": None,
        "seed": source.seed,
        "sampler": source.sampler,
        "origin": None,
        "arch_id": source.arch_id,
        "params": each.params,
        "macs": each.macs,
        "choices": dict(each.choices),
        "duplicate_of": None,
        "created": now,
        "finished": now,
        "epochs": source.epochs,
        "extra": dict(each.extra),
    }


def _copy_results(connection: Connection, pairs: Mapping[int, int], now: datetime) -> None:
    """Copy measurements and curves of the trials that are keys of `pairs` to those that are its values."""
    for part in _parts(list(pairs)):
        rows = connection.execute(
            select(measurement)
            .where(measurement.c.trial_id.in_(part))
            .order_by(measurement.c.trial_id, measurement.c.id)
        ).all()
        for (source, kind, version, seed), group in groupby(
            rows, lambda row: (row.trial_id, row.evaluator, row.version, row.seed)
        ):
            found = list(group)
            subject = writing.Subject(pairs[source], found[0].arch_id, kind, version, seed)
            measured = {row.metric: Measured(row.value, row.unit, row.spread, row.circumstances) for row in found}
            writing.put_measurements(connection, subject, measured)
    _copy_curves(connection, pairs, now)


def _copy_curves(connection: Connection, pairs: Mapping[int, int], now: datetime) -> None:
    for part in _parts(list(pairs)):
        rows = connection.execute(select(epoch_metric).where(epoch_metric.c.trial_id.in_(part)))
        copies = [{**row._mapping, "trial_id": pairs[row.trial_id], "created": now} for row in rows]
        if copies:
            connection.execute(epoch_metric.delete().where(epoch_metric.c.trial_id.in_([pairs[each] for each in part])))
            connection.execute(insert(epoch_metric), copies)


def _parts(items: Iterable[int]) -> Iterator[list[int]]:
    listed = list(items)
    for start in range(0, len(listed), _BATCH):
        yield listed[start : start + _BATCH]
