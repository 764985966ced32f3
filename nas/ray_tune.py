"""Ray Tune on our spaces: `tune.Tuner` runs the trials, with its schedulers and loggers; our store keeps them.

    study = tune_study("metaformer.yaml", data="digits", budget=20, store="nas.db", study="tuned")
    tune.Tuner(study.trainable, tune_config=tune.TuneConfig(search_alg=study.searcher, num_samples=-1)).fit()

Tune says how many trials run side by side, when one is stopped and how often one is tried again. The study says which
points are tried, and ends with its budget. Trials that a scheduler stops are stored as `stopped`, and are on no front.
Schedulers that change what a trial trains with (population based training) have nothing to change here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from nas.adoption import adopt
from nas.events import Listener, Notice, silent
from nas.executors import Inline
from nas.fidelity import NONE
from nas.front import FrontPoint, front_points
from nas.naming import fresh_study_name
from nas.objective import objectives_in
from nas.preparation import Preparation, prepare
from nas.search import gpu_share
from nas.settings import SearchSettings
from nas.start_points import StartPoint, start_points
from nas.tune_searcher import PointSearcher, opened
from nas.tune_trainable import Plan, trainable_of
from nas.warm_start import warmed
from space import DesignSpace, NasError
from trials.store import Store

__all__ = ["TuneStudy", "resume_tune_study", "tune_study"]


@dataclass(frozen=True)
class TuneStudy:
    """A study for `tune.Tuner`: what trains a point, and what proposes points."""

    name: str
    store: Store
    trainable: Callable[[dict[str, Any]], None]
    """Sets aside the study's `threads` as CPUs for each trial and, on GPUs, an even share for each of its `workers`."""
    searcher: PointSearcher
    """For `tune.TuneConfig(search_alg=...)`, also inside a `ConcurrencyLimiter`."""

    def front(self) -> list[FrontPoint]:
        """Return the front of the study as it is now, best in the first objective first."""
        row = self.store.study(self.name)
        return front_points(self.store.trials(row.id), objectives_in(row.config))

    def close(self) -> None:
        """Let go of study and store; needed only where Tune was cut off and this process goes on."""
        self.searcher.close()
        self.store.close()

    def __enter__(self) -> Self:
        """Return the study itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the study."""
        self.close()


def tune_study(
    space: str = "metaformer",
    *,
    budget: int,
    data: str = "digits",
    store: str | Path | None = None,
    study: str | None = None,
    checkpoints: bool = False,
    on_event: Listener = silent,
    **settings: Any,
) -> TuneStudy:
    """Begin a study whose trials Ray Tune will run.

    budget:       trials to train; Tune's `num_samples` may be less (the study can go on) or -1 (it ends at the budget).
    store:        see `Store.open`.
    study:        its name; None: the space and the time.
    checkpoints:  report each epoch with a checkpoint, from which Tune goes on after a failure, pause or restoration;
                  `tune.CheckpointConfig` says how many are kept. Otherwise such a trial starts anew.
    settings:     the other fields of `SearchSettings`, as `limits=["params<=1M"]`, `sampler="nsga2"`, `threads=2`.

    Raises:  NasError; nothing is stored where the settings are at fault.
    """
    name = study or "x"
    asked = SearchSettings.make(study=name, space=space, budget=budget, data=data, **settings)
    if asked.then is not None:
        raise NasError(f"then: {str(asked.then)!r}, allowed: none, Ray Tune trains each point once")
    if asked.fidelity.rule != NONE:
        raise NasError(f"fidelity: {str(asked.fidelity)!r}, allowed: {NONE}, Ray Tune's scheduler stops trials")
    design = DesignSpace.load(space)
    prepared = prepare(asked, design)
    opened_store = Store.open(store)
    try:
        if study is None:
            name = fresh_study_name(Path(space).stem, (each.name for each in opened_store.studies()), datetime.now())
        chosen = prepared.settings.model_copy(update={"study": name})
        starts = start_points(chosen.start_from, opened_store, prepared.space, prepared.admission)
        opened_store.create_study(
            name, space=design.text, config=chosen.model_dump(mode="json"), code_version=version("nas-vision"),
            data_fingerprint=prepared.data.fingerprint,
        )  # fmt: skip
        for text in (*prepared.notices, *(start.notice for start in starts if start.notice)):
            on_event(Notice(text))
        return _tuned(opened_store, name, checkpoints, on_event)
    except BaseException:
        opened_store.close()
        raise


def resume_tune_study(
    study: str,
    *,
    store: str | Path | None = None,
    budget: int | None = None,
    checkpoints: bool = False,
    on_event: Listener = silent,
) -> TuneStudy:
    """Go on with a study, whoever has driven it, after any death or beyond its budget.

    Use it with a new `tune.Tuner`, or with `tune.Tuner.restore(PATH, trainable=study.trainable)`, which finds the
    study's searcher by itself. Nothing that the store holds the end of is trained again.

    Raises:  StoreError where the study is unknown; NasError where data or device have changed.
    """
    opened_store = Store.open(store, create=False)
    try:
        row = opened_store.study(study)
        if budget is not None:
            settings = SearchSettings.make(**(row.config | {"budget": budget}))
            with opened_store.lease(study):
                opened_store.update_config(study, settings.model_dump(mode="json"))
        return _tuned(opened_store, study, checkpoints, on_event)
    except BaseException:
        opened_store.close()
        raise


def _tuned(store: Store, name: str, checkpoints: bool, emit: Listener) -> TuneStudy:
    ready = opened(store, store.study(name))
    settings = ready[0].settings
    if not store.summary(name).trials and (settings.start_from_store or settings.warm_start):
        with store.lease(name):
            _prepare_start(store, *ready, emit)
    row = store.study(name)
    plan = Plan.of(ready[0], store.trials(row.id), checkpoints=checkpoints)
    searcher = PointSearcher(store, row, emit, ready if row.config == settings.model_dump(mode="json") else None)
    return TuneStudy(name, store, trainable_of(plan, gpu_share(settings)), searcher)


def _prepare_start(store: Store, prepared: Preparation, starts: list[StartPoint], emit: Listener) -> None:
    """Score the points of the warm start in this process, and take over the store's trials, where the study asks so."""
    settings = prepared.settings
    if settings.warm_start is not None and settings.warm_points is None:
        with Inline() as worker:
            points = warmed(prepared, settings.warm_start, worker, emit, [start.arch for start in starts])
        settings = settings.model_copy(update={"warm_points": points})
        store.update_config(settings.study, settings.model_dump(mode="json"))
    if settings.start_from_store:
        emit(Notice(adopt(store, store.study(settings.study), prepared)))
