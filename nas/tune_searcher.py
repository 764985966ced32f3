"""The searcher: Ray Tune asks it for points, and what becomes of them goes into our store.

It lives in the process that calls `Tuner.fit`, and drives the study as long as trials of it are under way.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary, finalize

import ray
from ray.tune.search import Searcher

from nas.events import Listener, silent
from nas.executors import EpochDone, JobDone, JobFailed
from nas.preparation import Preparation, restore
from nas.search import gpu_share, proposer_for
from nas.settings import SearchSettings
from nas.start_points import StartPoint, start_points
from nas.tune_driver import TuneDriver
from nas.tune_trainable import CURVE, EPOCH, RESULT, TRIAL
from nas.warm_start import warm_starts
from space import DesignSpace
from space.errors import NasError
from trials.rows import StoreError, StudyRow
from trials.store import Store

UNTOLD = "its process ended without a word; the log of Ray Tune may say why"
Opened = tuple[Preparation, list[StartPoint]]
_open: WeakValueDictionary[tuple[str, str], PointSearcher] = WeakValueDictionary()
"""The searcher of each study in this process, by store and name."""


@dataclass
class _Heard:
    """What has been heard of a trial under way."""

    number: int
    mark: tuple[Any, ...] | None = None
    """Of the latest report; Tune passes on the last one twice."""
    epoch: int = 0
    metrics: dict[str, float] = field(default_factory=dict[str, float])
    told: dict[str, Any] = field(default_factory=dict[str, Any])
    """The result or the failure."""


class PointSearcher(Searcher):
    """Proposes points of a study to Ray Tune, and stores each trial, epoch and result.

    Made by `nas.ray_tune.tune_study`. There is one for a study in a process: copying it, or reading it back from the
    files of a Tune experiment, gives the same one.
    """

    def __init__(self, store: Store, study: StudyRow, emit: Listener, ready: Opened | None = None) -> None:
        """Propose for a stored study; `ready` is what `opened` says of it, which it is asked for otherwise."""
        super().__init__()
        self.study = study.name
        self._store, self._emit = store, emit
        settings = SearchSettings.make(**study.config)
        self._wanted = {"CPU": settings.threads, "GPU": gpu_share(settings)}
        self._ready = None if ready is None else (study, ready)
        self._driver: TuneDriver | None = None
        self._lease = ExitStack()
        finalize(self, _let_go, self._lease)
        self._driving = False
        self._left: dict[str, int] = {}
        self._heard: dict[str, _Heard] = {}
        self._fault: NasError | None = None
        if (other := _open.get((_place(store), study.name))) is not None:
            other.close()
        _open[_place(store), study.name] = self

    def __deepcopy__(self, memo: dict[int, Any]) -> PointSearcher:
        """Return itself: a study has one driver."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave a note of the study in Tune's files; all that is known is in the store."""
        return reopened, (_place(self._store), self.study)

    # -- what Tune calls

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Refuse a `param_space`, the one thing that Tune calls this for. Raises NasError."""
        if config:
            raise NasError(f"param_space: {sorted(config)}, allowed: none, the points come from the study's space")
        return True

    def suggest(self, trial_id: str) -> Any:
        """Return the next point, None while there is none, `Searcher.FINISHED` once the budget is spent.

        Raises:  NasError where the study cannot go on, as when another process drives it.
        """
        if self._fault is not None:
            raise self._fault
        if self._driver is None:
            _check_room(self._wanted)
        driver = self._drive()
        flight = driver.next_trial()
        if flight is None:
            over = driver.over
            self._rest()
            return Searcher.FINISHED if over else None
        self._heard[trial_id] = _Heard(flight.row.number)
        config: dict[str, Any] = {TRIAL: flight.row.number, "choices": dict(flight.row.choices)}
        if flight.measured:
            config["known"] = {"evaluators": list(flight.measured), "values": flight.values()}
        return config

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Store what a trial reports."""
        if (heard := self._known(trial_id, result)) is not None:
            self._hear(heard, result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Store how a trial ended: complete, stopped by the scheduler, outside a limit, or failed."""
        heard = self._known(trial_id, result or {})
        if heard is None:
            return
        del self._heard[trial_id]
        try:
            self._end(heard, result or {}, error=error)
            self._rest()
        except NasError as fault:  # Tune would take it for an error of the trial and go on
            self._fault = fault

    def save(self, checkpoint_path: str) -> None:
        """Write which trials of the study Tune has under way; the rest is in the store."""
        numbers = {trial_id: heard.number for trial_id, heard in self._heard.items()}
        Path(checkpoint_path).write_text(json.dumps({"study": self.study, "trials": numbers}))

    def restore(self, checkpoint_path: str) -> None:
        """Go on with the trials that Tune had under way; those that have ended since are left as they are."""
        driver = self._drive()
        for trial_id, number in json.loads(Path(checkpoint_path).read_text())["trials"].items():
            if driver.take_up(number):
                self._heard[trial_id] = _Heard(number)
        self._rest()

    # -- the study

    def close(self) -> None:
        """Let go of the study, and put trials that Tune left open back into its queue."""
        self._heard, self._driver, self._driving = {}, None, False
        _let_go(self._lease)

    def _drive(self) -> TuneDriver:
        """Return the driver, with the study's lease; made anew where another process has driven meanwhile."""
        if self._driving and self._driver is not None:
            return self._driver
        study = self._store.study(self.study)
        self._lease.enter_context(self._store.lease(self.study))
        self._lease.callback(self._store.requeue, study.id)
        try:
            if self._driver is None or self._store.summary(self.study).counts != self._left:
                self._driver = self._begin(study)
        except BaseException:
            self._lease.close()
            raise
        self._driving = True
        return self._driver

    def _begin(self, study: StudyRow) -> TuneDriver:
        ready, self._ready = self._ready, None
        prepared, starts = ready[1] if ready is not None and ready[0] == study else opened(self._store, study)
        proposer = proposer_for(prepared, [*starts, *warm_starts(prepared.settings)], self._emit)
        return TuneDriver(self._store, study, prepared, proposer, self._emit)

    def _rest(self) -> None:
        """Let go of the study while no trial is under way."""
        if not self._driving or self._driver is None or self._driver.busy:
            return
        self._driving = False
        self._lease.close()
        self._left = self._store.summary(self.study).counts

    # -- trials

    def _known(self, trial_id: str, result: dict[str, Any]) -> _Heard | None:
        """Return what is known of one of Tune's trials; None where it is none of the study's open ones."""
        if trial_id not in self._heard and TRIAL in result:  # one that Tune began anew by itself
            if self._drive().take_up(int(result[TRIAL])):
                self._heard[trial_id] = _Heard(int(result[TRIAL]))
            self._rest()
        return self._heard.get(trial_id)

    def _hear(self, heard: _Heard, result: dict[str, Any]) -> None:
        mark = tuple(result.get(name) for name in ("pid", "training_iteration", "time_total_s"))
        if mark == heard.mark or TRIAL not in result:
            return
        driver = self._drive()
        if heard.mark is not None and result.get("iterations_since_restore") == 1:
            driver.begin_attempt(heard.number)
        heard.mark = mark
        heard.told = json.loads(result[RESULT]) if RESULT in result else {}
        if heard.told.get("last"):
            heard.epoch, heard.metrics = heard.told["last"]
        elif CURVE in result:
            heard.epoch = int(result[EPOCH])
            heard.metrics = {name: float(result[name]) for name in result[CURVE].split()}
        else:
            return
        driver.heed(EpochDone(heard.number, heard.epoch, heard.metrics))

    def _end(self, heard: _Heard, result: dict[str, Any], *, error: bool) -> None:
        self._hear(heard, result)
        driver = self._drive()
        if error or "failed" in heard.told:
            driver.heed(JobFailed(heard.number, heard.told.get("failed", UNTOLD)))
        elif "outcome" in heard.told:
            driver.heed(JobDone(heard.number, heard.told["outcome"]))
        elif heard.epoch:
            driver.stop(heard.number, heard.epoch, heard.metrics)
        else:
            driver.put_back(heard.number)


def opened(store: Store, row: StudyRow) -> Opened:
    """Return a stored study ready to go on, and its start points. Raises NasError where data or device have changed."""
    settings = SearchSettings.make(**row.config)
    prepared = restore(settings, DesignSpace.from_yaml(row.space, settings.space), row.data_fingerprint)
    return prepared, start_points(settings.start_from, store, prepared.space, prepared.admission)


def reopened(store: str, study: str) -> PointSearcher:
    """Return the searcher of a study: this process's where it has one, as Tune asks when it reads its files.

    Raises:  StoreError where store or study are gone.
    """
    if (known := _open.get((store, study))) is not None:
        return known
    opened_store = Store.open(store, create=False)
    return PointSearcher(opened_store, opened_store.study(study), silent)


def _let_go(lease: ExitStack) -> None:
    """Give a study back that its searcher has left, at the latest when the process ends."""
    with suppress(StoreError):  # as where another process has taken it over
        lease.close()


def _place(store: Store) -> str:
    """Return what names a store from any folder; a password, which is no part of it, is up to the environment."""
    return store.url if "://" in store.url else str(Path(store.url).resolve())


def _check_room(wanted: Mapping[str, float]) -> None:
    """Refuse trials that would wait for ever: `wanted` of each kind of resource. Raises NasError."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]] if ray.is_initialized() else []
    # clusters that grow by themselves begin with a head that runs nothing
    if not nodes or not max(node.get("CPU", 0) for node in nodes):
        return
    for kind, amount in wanted.items():
        if amount > (most := max(node.get(kind, 0) for node in nodes)):
            what = "threads" if kind == "CPU" else "device"
            raise NasError(f"{what}: {amount:g} {kind} for each trial, allowed: up to {most:g}, what a node of Ray has")
