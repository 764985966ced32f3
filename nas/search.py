"""The search: ask, decode, reject, queue, run, stream, record, tell; and resume after any death."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version

from nas.adoption import adopt
from nas.driver import Driver, SearchError
from nas.evaluation_cache import Conditions
from nas.events import Finished, Listener, Notice, Started, silent
from nas.executors import Executor, Inline, RayPool
from nas.extension import extend
from nas.front import FrontPoint, front_points
from nas.interrupts import interruptible
from nas.point_costs import point_costs
from nas.preparation import Preparation, default_device, prepare, restore
from nas.proposing import Proposer
from nas.samplers import sampler
from nas.scored_costs import scored_costs
from nas.second_stage import Outcome, Stage, check_free, read_second, second_stage
from nas.settings import SearchSettings
from nas.start_points import StartPoint, start_points
from nas.suggestions import Suggestions
from nas.verification import Verification
from nas.warm_start import warm_starts, warmed
from space import DesignSpace
from trials.rows import StudyRow
from trials.store import Store

__all__ = ["Result", "SearchError", "executor_for", "gpu_share", "proposer_for", "resume_search", "run_search"]


@dataclass(frozen=True)
class Result:
    """What a search came to."""

    study: str
    store: str
    """How to name the store on a command line."""
    done: int
    """Trials trained: complete, stopped and failed."""
    budget: int
    counts: Mapping[str, int]
    """Trials per state."""
    front: tuple[FrontPoint, ...]
    seconds: float
    """Wall time of this run."""
    interrupted: bool
    """Ctrl-C ended it; `resume_search` goes on."""
    exhausted: bool
    """The space ended before the budget."""
    reused: int = 0
    """Of the trained, those whose result another study of the store had."""
    second: Outcome | None = None
    """What the second stage came to, where one was asked for and the first is done."""


def executor_for(settings: SearchSettings, *, inline: bool = False, ray_address: str | None = None) -> Executor:
    """Return the executor that these settings ask for; it starts when the search needs it.

    Workers share the GPUs evenly where they train on them. Raises ExecutorError where no Ray cluster answers at the
    address.
    """
    if inline:
        return Inline()
    return RayPool(settings.workers, threads=settings.threads, gpus=gpu_share(settings), address=ray_address)


def gpu_share(settings: SearchSettings) -> float:
    """Return the share of a GPU that each worker has: even ones where they train on GPUs, else 0."""
    if not (settings.device or default_device()).startswith("cuda"):
        return 0.0
    import torch

    return min(1.0, int(10_000 * torch.cuda.device_count() / settings.workers) / 10_000)


def run_search(
    store: Store, settings: SearchSettings, *, executor: Executor | None = None, on_event: Listener = silent
) -> Result:
    """Begin a study and run it to its budget.

    executor:  where trials run; None: Ray actors on this machine.
    on_event:  is told of everything, after the store holds it.

    Returns early, with `interrupted`, on Ctrl-C. Raises NasError; nothing is stored where the settings are at fault.
    """
    design = DesignSpace.load(settings.space)
    check_free(store, settings)
    prepared = prepare(settings, design)
    starts = start_points(settings.start_from, store, prepared.space, prepared.admission)
    study = store.create_study(
        settings.study,
        space=design.text,
        config=prepared.settings.model_dump(mode="json"),
        code_version=version("nas-vision"),
        data_fingerprint=prepared.data.fingerprint,
    )
    return _stages(store, Stage(study, prepared, starts, resumed=False), executor, on_event)


def resume_search(
    store: Store,
    study: str,
    *,
    executor: Executor | None = None,
    on_event: Listener = silent,
    budget: int | None = None,
    workers: int | None = None,
    space: str | None = None,
) -> Result:
    """Go on with a study after any death, or beyond its budget.

    budget, workers:  replace those of the study.
    space:            a space file or preset that extends the study's; its trials stay valid.

    Raises:  StoreError where the study is unknown or another driver has it; NasError where data or device have changed,
             or the space is no extension.
    """
    row = store.study(study)
    given = {"budget": budget, "workers": workers, "space": space}
    changes = {name: value for name, value in given.items() if value is not None}
    settings = SearchSettings.make(**(row.config | changes))
    design = DesignSpace.load(space) if space else DesignSpace.from_yaml(row.space, settings.space)
    prepared = restore(settings, design, row.data_fingerprint)
    starts = start_points(settings.start_from, store, prepared.space, prepared.admission)
    if space:
        with store.lease(study):
            row = extend(store, row, prepared)
    elif changes:
        row = store.update_config(study, settings.model_dump(mode="json"))
    return _stages(store, Stage(row, prepared, starts, resumed=True), executor, on_event)


def _stages(store: Store, first: Stage, executor: Executor | None, emit: Listener) -> Result:
    """Run a study and what follows it, on the same workers."""
    settings = first.prepared.settings
    with _once(executor or executor_for(settings)) as workers:
        result = _run(store, first, workers, emit)
        whole = not result.interrupted and (result.done >= result.budget or result.exhausted)
        if settings.then is None or not whole:
            return result
        following = second_stage(store, first.study, first.prepared)
        if following is None:
            emit(Notice(f"then {settings.then}: no network of the front can be trained on whole images of this data"))
            return result
        second = _run(store, following, workers, emit)
    outcome = read_second(store, first.study)
    return replace(result, interrupted=second.interrupted, seconds=result.seconds + second.seconds, second=outcome)


class _Workers:
    """An executor that is started when it is first needed, and then serves every stage."""

    def __init__(self, executor: Executor, stack: ExitStack) -> None:
        self.executor, self._stack, self._started = executor, stack, False

    def start(self) -> None:
        if not self._started:
            self._started = True
            self._stack.enter_context(self.executor)

    def stop(self) -> None:
        self._started = False
        self._stack.close()


@contextmanager
def _once(executor: Executor) -> Iterator[_Workers]:
    with ExitStack() as stack:
        yield _Workers(executor, stack)


def _run(store: Store, stage: Stage, workers: _Workers, emit: Listener) -> Result:
    begin = time.monotonic()
    study, resumed, executor, interrupted = stage.study, stage.resumed, workers.executor, False
    with store.lease(study.name):
        prepared = _warmed(store, stage, workers, emit)
        settings = prepared.settings
        starts = [*stage.starts, *warm_starts(settings)]
        begins = settings.start_from_store and not store.summary(study.name).trials
        notices = [adopt(store, study, prepared)] if begins else []
        proposer = proposer_for(prepared, starts, emit)
        driver = Driver(store, study, settings, prepared.size, proposer, executor, emit)
        emit(_started(store, settings, driver, executor, resumed=resumed))
        notices += [start.notice for start in starts if not resumed and start.notice]
        for text in (*prepared.notices, *notices):
            emit(Notice(text))
        conditions = Conditions(settings, prepared.size, study.data_fingerprint)
        verification = Verification(store, study, conditions)
        try:
            if driver.needs_workers or verification.pending():
                with interruptible() as check:
                    workers.start()
                    try:
                        driver.run(check)
                        verification.run(executor, emit, check)
                    except BaseException:
                        workers.stop()
                        raise
        except KeyboardInterrupt:
            interrupted = True
        finally:
            store.requeue(study.id)
        result = _result(store, study, settings, driver, time.monotonic() - begin, interrupted=interrupted)
    if interrupted:
        emit(Notice(f"interrupted after {result.done} of {result.budget} trials; nas resume {study.name} goes on"))
    emit(
        Finished(
            study=result.study,
            store=result.store,
            done=result.done,
            budget=result.budget,
            counts=result.counts,
            front=result.front,
            seconds=result.seconds,
            interrupted=result.interrupted,
            exhausted=result.exhausted,
        )
    )
    return result


def _warmed(store: Store, stage: Stage, workers: _Workers, emit: Listener) -> Preparation:
    """Return the search with the points of its warm start chosen, and store them with the study."""
    prepared = stage.prepared
    warm = prepared.settings.warm_start
    if warm is None or prepared.settings.warm_points is not None:
        return prepared
    workers.start()
    try:
        with interruptible() as check:
            points = warmed(prepared, warm, workers.executor, emit, [start.arch for start in stage.starts], check)
    except BaseException:
        workers.stop()
        raise
    settings = prepared.settings.model_copy(update={"warm_points": points})
    store.update_config(settings.study, settings.model_dump(mode="json"))
    return replace(prepared, settings=settings)


def proposer_for(prepared: Preparation, starts: list[StartPoint], emit: Listener) -> Proposer:
    """Return who proposes the points of a search, knowing no trial yet."""
    settings = prepared.settings
    chosen = sampler(settings.sampler)
    known = point_costs(prepared.admission, settings.objectives)
    if settings.features:
        known = scored_costs(known, prepared, emit)
    suggestions = Suggestions(prepared.space, chosen, settings.objectives, settings.limits, settings.seed, known)
    return Proposer(
        suggestions,
        prepared.admission,
        starts,
        name=settings.sampler,
        sampler=chosen,
        budget=settings.budget,
        seed=settings.seed,
    )


def _started(store: Store, settings: SearchSettings, driver: Driver, executor: Executor, *, resumed: bool) -> Started:
    return Started(
        study=settings.study,
        store=store.url,
        budget=settings.budget,
        done=driver.done,
        workers=executor.workers,
        sampler=settings.sampler,
        objectives=tuple(map(str, settings.objectives)),
        limits=tuple(map(str, settings.limits)),
        resumed=resumed,
        waiting=driver.waiting,
    )


def _result(
    store: Store, study: StudyRow, settings: SearchSettings, driver: Driver, seconds: float, *, interrupted: bool
) -> Result:
    rows = store.trials(study.id)
    return Result(
        study=study.name,
        store=store.url,
        done=driver.done,
        budget=settings.budget,
        counts=dict(Counter(row.state for row in rows)),
        front=tuple(front_points(rows, settings.objectives)),
        seconds=seconds,
        interrupted=interrupted,
        exhausted=driver.exhausted,
        reused=sum(row.reused is not None and not row.adopted for row in rows),
    )
