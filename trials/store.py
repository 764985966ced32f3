"""Store: where a search keeps everything it knows, and the only place that speaks SQL.

Tables are in `trials/schema.py`, the reading half in `trials/reading.py`. Every method that writes is one
transaction: after a kill at any moment it is there as a whole or not at all.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import insert, update
from sqlalchemy.exc import IntegrityError

from trials import pausing, sharing, writing
from trials.engine import Database, connect
from trials.lease import HEARTBEAT_SECONDS, STALE_SECONDS, Lease, hold
from trials.migrations import ensure_schema
from trials.pausing import Pausing
from trials.rows import FINAL, Annotation, State, StoreError, StudyRow, TrialRow
from trials.schema import study, trial

if TYPE_CHECKING:
    from trials.measurement import Measured

DEFAULT_PATH = Path(".nas") / "nas.db"
"""Where the store is when nothing else is said, under the working folder."""


class Store(Pausing):
    """Studies, architectures, trials, learning curves, measurements and files of one database."""

    url: str
    """How to name the store on a command line: the path, or the URL without its password."""
    root: Path
    """Folder that artifact paths are relative to; whoever writes the first file makes it."""

    def __init__(self, database: Database, root: Path) -> None:
        super().__init__(database)
        self.url = database.label
        self.root = root
        self._leases: dict[int, Lease] = {}

    @classmethod
    def open(cls, url: str | Path | None = None, *, create: bool = True, read_only: bool = False) -> Self:
        """Open a store, making or migrating its tables; any number of processes may do so at once.

        url:        a path, `sqlite:///PATH` or `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`; None is the
                    environment's NAS_STORE, else `.nas/nas.db` under the working folder.
        create:     make file, folder and tables where they are missing; otherwise that is an error.
        read_only:  never write, not even to migrate; works on files and folders that may not be written.

        Raises:  StoreError, one line: missing, unreadable, unwritable, no database, not ours, of a newer schema,
                 server out of reach or refusing, driver missing.
        """
        target = url if url is not None else os.environ.get("NAS_STORE") or DEFAULT_PATH
        database = connect(target, create=create, read_only=read_only)
        try:
            ensure_schema(database, create=create)
        except StoreError:
            database.close()
            raise
        return cls(database, _root(database.path))

    def close(self) -> None:
        """Close the connections; a store that is used again opens new ones."""
        self._database.close()

    def __enter__(self) -> Self:
        """Return the store itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the store."""
        self.close()

    @property
    def read_only(self) -> bool:
        """Whether the store was opened for reading only."""
        return self._database.read_only

    # -- studies

    def create_study(
        self, name: str, *, space: str, config: dict[str, Any], code_version: str, data_fingerprint: str
    ) -> StudyRow:
        """Begin a study; `space` is YAML text, `config` anything JSON can hold.

        Raises:  StoreError if the name is taken, or is not made of letters, digits, `_`, `-` and `.`.
        """
        if not re.fullmatch(r"\w[\w.-]{0,99}", name):
            allowed = "up to 100 letters, digits, '_', '-' and '.', beginning with a letter, digit or '_'"
            raise StoreError(f"study name: {name!r}, allowed: {allowed}")
        values = {
            "name": name,
            "space": space,
            "config": config,
            "code_version": code_version,
            "data_fingerprint": data_fingerprint,
            "created": datetime.now(UTC),
        }
        with self._database.write() as connection:
            try:
                study_id = connection.execute(
                    insert(study).values(**values, trial_count=0).returning(study.c.id)
                ).scalar_one()
            except IntegrityError:
                raise StoreError(
                    f"study {name!r}: exists in store {self.url}; resume it or choose another name"
                ) from None
        return StudyRow(id=study_id, **values)

    def update_config(
        self, study: str, config: dict[str, Any], *, space: str | None = None, choices: Mapping[int, Any] | None = None
    ) -> StudyRow:
        """Replace the config of a study, by name, and return the study.

        space, choices:  its new space, and the choices of its trials there by their ids.
        """
        row = self.study(study)
        with self._database.write() as connection:
            writing.check_lease(connection, row.id, self._leases)
            writing.set_config(connection, row.id, config, space)
            for trial_id, chosen in (choices or {}).items():
                writing.change_trial(connection, trial_id, choices=chosen)
        return self.study(study)

    @contextmanager
    def lease(
        self, study_name: str, *, heartbeat: float = HEARTBEAT_SECONDS, stale: float = STALE_SECONDS
    ) -> Iterator[Lease]:
        """Be the one driver of a study while the context lasts (seconds between renewals, and until one is given up).

        As long as this store holds the lease, each of its writes to the study checks that it still does.

        Raises:  StoreError if a live process holds it, or there is no such study (naming the nearest).
        """
        self.study(study_name)
        with hold(self._database, study_name, heartbeat=heartbeat, stale=stale) as (study_id, lease):
            self._leases[study_id] = lease
            try:
                yield lease
            finally:
                del self._leases[study_id]

    # -- trials

    def add_trial(
        self,
        study_id: int,
        *,
        state: State,
        arch_id: str,
        arch_json: str,
        params: int | None,
        macs: int | None,
        choices: dict[str, Any],
        seed: int,
        sampler: str,
        reason: str | None = None,
        duplicate_of: int | None = None,
        origin: str | None = None,
        extra: dict[str, Any] | None = None,
    ) -> TrialRow:
        """Add a trial under the study's next number, and its architecture if that is new.

        state:         queued, or at once final: duplicate, infeasible, failed.   seed: 0 to 2**63 - 1.
        duplicate_of:  number of an earlier trial of the same study.

        Raises:  StoreError if there is no such study, state or earlier trial, or the study's lease is lost.
        """
        writing.check_new(state, seed)
        now = datetime.now(UTC)
        values: dict[str, Any] = {
            "study_id": study_id,
            "state": state,
            "reason": writing.storable(reason),
            "seed": seed,
            "sampler": sampler,
            "origin": writing.storable(origin),
            "arch_id": arch_id,
            "params": params,
            "macs": macs,
            "choices": choices,
            "duplicate_of": duplicate_of,
            "created": now,
            "finished": now if state in FINAL else None,
            "extra": extra or {},
        } | dict(writing.NOT_STARTED)
        with self._database.write() as connection:
            values["number"] = writing.next_number(connection, study_id, self._leases)
            stored = writing.put_architecture(connection, arch_id, arch_json, params, macs, now)
            try:
                trial_id = writing.put_trial(connection, values)
            except IntegrityError as error:
                raise StoreError(f"new trial: duplicate of trial {duplicate_of}, which the study lacks") from error
        return TrialRow(id=trial_id, arch_json=stored, **values)

    def start_trial(self, trial_id: int, *, worker: str, attempt: int) -> None:
        """Record that a worker begins an attempt (from 1) at a queued trial, or a later attempt at a running one.

        Raises:  StoreError if the trial is finished, is running that attempt already, or the lease is lost.
        """
        with self._database.write() as connection:
            row = writing.claim(connection, trial_id, self._leases)
            writing.begin_trial(connection, trial_id, row, worker, attempt)

    def add_epoch(self, trial_id: int, *, attempt: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Record what an epoch of a running trial reported, and that the trial has come so far.

        epoch:    epochs finished, from 1; recording one again replaces its numbers.
        metrics:  any numbers, NaN and infinities included: a diverging curve is worth seeing.

        Raises:  StoreError if the trial does not run, or runs another attempt, or the lease is lost.
        """
        if epoch < 1:
            raise StoreError(f"epoch: {epoch}, allowed: 1 or more, the number of epochs finished")
        with self._database.write() as connection:
            row = writing.claim(connection, trial_id, self._leases)
            if row.state != "running" or row.attempt != attempt:
                raise StoreError(
                    f"{row.label}: epoch {epoch} of attempt {attempt}, but it is {row.state} at attempt {row.attempt}"
                )
            writing.put_epoch(connection, trial_id, attempt, epoch, metrics)
            writing.change_trial(connection, trial_id, epochs=epoch)

    def finish_trial(
        self,
        trial_id: int,
        *,
        state: State,
        reason: str | None = None,
        measurements: Mapping[str, Measured] | None = None,
        evaluator: str = "",
        evaluator_version: int = 1,
        evaluations: Sequence[writing.Evaluation] = (),
        source: int | None = None,
    ) -> None:
        """Give a trial its final state together with what was measured (metric name -> measured), all or nothing.

        Saying the same state a second time changes nothing, so that a caller unsure of its last write can repeat it.

        evaluations:  (evaluator, version, measurements) of each, where several evaluators have measured; the metrics
                      of an earlier one come first.
        source:       id of the trial of which this one has the result; its learning curve becomes this one's as well.

        Raises:  StoreError if the trial has another final state, a value is not finite, or the lease is lost.
        """
        if state not in FINAL:
            raise StoreError(f"finished trial: state {state!r}, allowed: {', '.join(FINAL)}")
        with self._database.write() as connection:
            row = writing.claim(connection, trial_id, self._leases)
            if row.state in FINAL and row.state != state:
                raise StoreError(f"{row.label}: already {row.state}, cannot become {state}")
            for kind, version, measured in (*evaluations, (evaluator, evaluator_version, measurements or {})):
                subject = writing.Subject(trial_id, row.arch_id, kind, version, row.seed)
                writing.put_measurements(connection, subject, measured)
            if row.state not in FINAL:
                why, now = writing.storable(reason), datetime.now(UTC)
                writing.change_trial(connection, trial_id, state=state, reason=why, finished=now)
                pausing.keep_values(connection, trial_id)
                if source is not None:
                    sharing.take_over(connection, trial_id, source, now)

    def requeue(self, study_id: int) -> int:
        """Put all running trials back into the queue, as after a driver's death, and return how many."""
        with self._database.write() as connection:
            writing.check_lease(connection, study_id, self._leases)
            running = (trial.c.study_id == study_id) & (trial.c.state == "running")
            return connection.execute(update(trial).where(running).values(state="queued", worker=None)).rowcount

    # -- measurements and files

    def add_measurements(
        self,
        arch_id: str,
        measurements: Mapping[str, Measured],
        *,
        trial_id: int | None = None,
        arch_json: str | None = None,
        evaluator: str = "",
        evaluator_version: int = 1,
        seed: int | None = None,
    ) -> None:
        """Record measurements outside a search: of a finished trial, or of a point that no study has tried.

        Recording the same again (metric, evaluator, version, seed, circumstances) replaces the value.
        `arch_json` is needed where the store has not seen the point before.

        Raises:  StoreError if the point or trial is unknown, the trial is of another point, a value is not finite, or
                 the lease of the trial's study is lost.
        """
        if seed is not None:
            writing.check_seed(seed)
        with self._database.write() as connection:
            if trial_id is not None:
                row = writing.claim(connection, trial_id, self._leases)
                if row.arch_id != arch_id:
                    raise StoreError(f"{row.label}: of architecture {row.arch_id!r}, measured was {arch_id!r}")
            if arch_json is not None:
                writing.put_architecture(connection, arch_id, arch_json, None, None, datetime.now(UTC))
            try:
                subject = writing.Subject(trial_id, arch_id, evaluator, evaluator_version, seed)
                writing.put_measurements(connection, subject, measurements)
            except IntegrityError as error:
                raise StoreError(f"measurements: architecture {arch_id!r} is not in store {self.url}") from error

    def annotate(self, trial_id: int, note: Annotation) -> None:
        """Write something beside a trial, in the place of what was there. Raises StoreError if it is unknown."""
        with self._database.write() as connection:
            writing.claim(connection, trial_id, {})
            writing.put_annotation(connection, trial_id, note)

    def add_artifact(self, trial_id: int | None, *, kind: str, path: str | Path, sha256: str, bytes: int) -> None:
        """Record a file under `root`; recording the same path again replaces its checksum and size.

        Raises:  StoreError if the path is absolute or leaves `root`, or the trial is unknown.
        """
        relative = PurePosixPath(path)
        if relative.is_absolute() or ".." in relative.parts or not relative.parts:
            raise StoreError(f"artifact path: {str(path)!r}, allowed: a path inside {self.root}, relative to it")
        values = {"trial_id": trial_id, "kind": kind, "sha256": sha256, "bytes": bytes, "created": datetime.now(UTC)}
        with self._database.write() as connection:
            try:
                writing.put_artifact(connection, {"path": str(relative), **values})
            except IntegrityError as error:
                raise StoreError(
                    f"artifact {str(relative)!r}: trial id {trial_id} is not in store {self.url}"
                ) from error


def _root(path: Path | None) -> Path:
    if path is not None:
        return path.with_name(path.stem + "_files")
    return Path(os.environ.get("NAS_ARTIFACTS") or Path(".nas") / "files").absolute()
