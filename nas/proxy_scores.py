"""Trained networks as a population to judge zero-cost proxies on, and every proxy's scores of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nas.bench.curves import Curves
from nas.executors.work import reason_of
from nas.front import values_of
from nas.settings import SearchSettings
from space import Architecture, NasError, Proxy
from trials.data import load_data
from trials.evaluator import Evaluator, Job
from trials.training.recipe import PROXY_RECIPE, Recipe
from trials.zero_cost import ZeroCost, proxies, proxy

if TYPE_CHECKING:
    from trials.store import Store

Array = NDArray[np.float64]
LEAST = 3
"""Networks that a correlation needs."""
Tick = Callable[[], None]
"""Called after each score."""


@dataclass(frozen=True)
class Population:
    """Trained networks with their accuracies; a job says how each was trained, hence what a proxy is to look at."""

    name: str
    jobs: tuple[Job, ...]
    accuracy: Array
    """[N], on validation images."""
    macs: Array
    """[N], of the points themselves."""
    repeated: tuple[Array, Array] | None = None
    """Accuracies of some networks in two trainings of different seeds: what chance leaves to be told."""


def recorded(path: Path, data: str | None = None) -> Population:
    """Return the population of a file of recorded curves.

    data:  where its images are; None: under the name the file has for them.
    Raises:  NasError where the file cannot be read, or the data is not that of the file.
    """
    curves = Curves.load(path)
    head = curves.head
    spec = data or str(head["data"])
    images = load_data(spec, resolution=head["resolution"])
    if images.fingerprint != head["fingerprint"]:
        raise NasError(f"data {spec!r}: fingerprint {images.fingerprint}, {path} was recorded on {head['fingerprint']}")
    twin, recipe = Proxy.model_validate(head["proxy"]), Recipe.model_validate(head["recipe"])
    runs = curves.first_runs()
    jobs: list[Job] = []
    for index, run in sorted(runs.items()):
        arch = curves.points[index].architecture()
        jobs.append(
            Job(
                trial_number=index,
                arch=arch,
                train_arch=twin.shrink(arch),
                data=spec,
                recipe=recipe,
                resolution=head["resolution"],
                cost_resolution=head["cost_resolution"],
                seed=run.seed,
                evaluators=_any(),
            )
        )
    accuracy = {index: run.accuracy[-1] for index, run in runs.items()}
    macs = [float(curves.points[job.trial_number].macs) for job in jobs]
    again = [run for run in curves.runs if run.repeat == 1 and run.failure is None and run.point in accuracy]
    repeated = np.array([accuracy[run.point] for run in again]), np.array([run.accuracy[-1] for run in again])
    return _population(
        path.name.removesuffix(".json.gz"), jobs, [accuracy[job.trial_number] for job in jobs], macs, repeated
    )


def studied(store: Store, name: str, data: str | None = None) -> Population:
    """Return the population of a study: its complete trials that were trained to an accuracy.

    data:  where its images are now; None: where they were.
    Raises:  StoreError, NasError where there are too few such trials, or the data has changed.
    """
    row = store.study(name)
    settings = SearchSettings.make(**row.config)
    spec = data or settings.data
    images = load_data(spec, seed=settings.data_seed)
    if images.fingerprint != row.data_fingerprint:
        raise NasError(f"data {spec!r}: fingerprint {images.fingerprint}, study {name!r} had {row.data_fingerprint}")
    jobs: list[Job] = []
    accuracy: list[float] = []
    macs: list[float] = []
    for trial in store.trials(row.id):
        values = values_of(trial)
        if trial.state != "complete" or "accuracy" not in values or "macs" not in values:
            continue
        arch = Architecture.model_validate_json(trial.arch_json)
        twin = settings.proxy.shrink(arch) if settings.proxy and settings.train_as == "proxy" else arch
        jobs.append(
            Job(
                trial_number=trial.number,
                arch=arch,
                train_arch=twin,
                data=spec,
                data_seed=settings.data_seed,
                recipe=settings.recipe or PROXY_RECIPE,
                resolution=settings.resolution,
                cost_resolution=settings.cost_resolution or images.resolution,
                seed=trial.seed,
                evaluators=_any(),
            )
        )
        accuracy.append(values["accuracy"])
        macs.append(values["macs"])
    return _population(name, jobs, accuracy, macs, None)


@dataclass(frozen=True)
class ProxyScores:
    """One proxy's scores of a population."""

    kind: str
    version: int
    columns: Mapping[str, Array]
    """By metric, [N]; NaN where a network has no score."""
    cpu_ms: float
    """CPU milliseconds a network, the median, building it included; one thread."""
    failures: Mapping[int, str] = field(default_factory=dict[int, str])
    """Why the networks at these positions have no score."""

    def ranking(self, macs: Array) -> Array:
        """Return what the proxy ranks a population by, [N], NaN where a network has no score; `macs` is [N]."""
        known = ~np.isnan(np.stack(list(self.columns.values()))).any(axis=0)
        out = np.full(len(macs), np.nan)
        columns = {name: column[known] for name, column in {**self.columns, "macs": macs}.items()}
        if known.any():
            out[known] = proxy(self.kind).rank(columns)
        return out


def score_population(population: Population, names: Sequence[str], tick: Tick = lambda: None) -> list[ProxyScores]:
    """Score every network with every proxy, in this process; a network that has no score is noted, never fatal.

    Raises:  NasError for an unknown proxy.
    """
    return [_scored(population, proxy(name).model_validate({}), tick) for name in names]


def proxy_names() -> list[str]:
    """Return the kinds of all proxies."""
    return list(proxies())


def _scored(population: Population, evaluator: ZeroCost, tick: Tick) -> ProxyScores:
    columns = {name: np.full(len(population.jobs), np.nan) for name in evaluator.metrics}
    failures: dict[int, str] = {}
    spent: list[float] = []
    for index, job in enumerate(population.jobs):
        begin = time.process_time()
        try:
            for name, measured in evaluator.evaluate(job, lambda *_: None).items():
                columns[name][index] = measured.value
        except Exception as error:  # whatever a network does to a proxy is that network's failure
            failures[index] = reason_of(error)
        spent.append(1e3 * (time.process_time() - begin))
        tick()
    return ProxyScores(evaluator.kind, evaluator.version, columns, statistics.median(spent), failures)


def _population(
    name: str,
    jobs: Sequence[Job],
    accuracy: Sequence[float],
    macs: Sequence[float],
    repeated: tuple[Array, Array] | None,
) -> Population:
    if len(jobs) < LEAST:
        raise NasError(f"{name}: {len(jobs)} networks with an accuracy, at least {LEAST} are needed")
    kept = repeated if repeated is not None and len(repeated[0]) >= LEAST else None
    return Population(name, tuple(jobs), np.array(accuracy), np.array(macs), kept)


def _any() -> tuple[Evaluator, ...]:
    """Return what a job must have and a proxy does not look at."""
    return (proxy("macs").model_validate({}),)
