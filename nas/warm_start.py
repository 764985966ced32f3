"""Warm start: score many random points by a zero-cost proxy, and train the best of them first.

Source:  Abdelfattah et al., Zero-Cost Proxies for Lightweight NAS, arXiv:2101.08134 (zero-cost warm-up).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from nas.events import Listener, Notice
from nas.executors import Executor, JobDone, JobFailed, Report, WorkerLost
from nas.executors.work import measured_from
from nas.objective import COUNTED
from nas.pareto import Direction, front
from nas.preparation import Preparation
from nas.samplers import sampler
from nas.settings import SearchSettings
from nas.start_points import StartPoint
from nas.warm_points import WarmPoints, WarmStart
from space import Architecture
from trials.evaluator import Job
from trials.seeds import derive_seed, trial_seed
from trials.training.recipe import PROXY_RECIPE
from trials.zero_cost import proxy

LEAST = 10
"""Points that are trained first at least, where the budget has room for them."""
TELL_EVERY = 15.0
"""Seconds between two lines about how far the scoring is."""
Array = NDArray[np.float64]


def how_many(settings: SearchSettings) -> int:
    """Return how many points are trained first: what the sampler would draw at random, at most half the budget."""
    startup = sampler(settings.sampler).startup(settings.budget)
    return max(1, min(max(LEAST, startup or 0), settings.budget // 2))


def warm_starts(settings: SearchSettings) -> list[StartPoint]:
    """Return the points that a warm start chose."""
    if settings.warm_start is None or settings.warm_points is None:
        return []
    name = f"proxy:{settings.warm_start.proxy}"
    chosen = settings.warm_points.chosen
    return [StartPoint(name, Architecture.model_validate_json(text), None) for text in chosen]


def warmed(
    prepared: Preparation,
    warm: WarmStart,
    executor: Executor,
    emit: Listener,
    known: Sequence[Architecture] = (),
    check: Callable[[], None] = lambda: None,
) -> WarmPoints:
    """Score random feasible points on the workers, which have been started, and choose those to train first.

    known:  points that are tried first anyway.    check:  is called between steps, and may raise to end it all.
    A point that cannot be scored is counted with its reason; where none can, nothing is chosen.
    """
    points = _drawn(prepared, warm.points, {arch.id for arch in known})
    emit(Notice(f"warm start: scoring {len(points)} random points by {warm.proxy}"))
    begin = time.monotonic()
    columns, failures = _scores(prepared, warm, points, executor, emit, check)
    macs = np.array([float(prepared.size.cost(arch).macs) for arch in points])
    good = ~np.isnan(np.stack(list(columns.values()))).any(axis=0) if points else np.zeros(0, dtype=bool)
    chosen: list[int] = []
    if good.any():
        at = np.flatnonzero(good)
        merit = proxy(warm.proxy).rank({name: each[at] for name, each in {**columns, "macs": macs}.items()})
        picked = choose(merit, _counted(prepared, [points[index] for index in at]), how_many(prepared.settings))
        chosen = [int(at[index]) for index in picked]
    found = WarmPoints(
        scored=int(good.sum()),
        failures=failures,
        chosen=tuple(points[index].model_dump_json(exclude_defaults=True) for index in chosen),
        scores=tuple({name: float(each[index]) for name, each in columns.items()} for index in chosen),
    )
    emit(Notice(_told(found, time.monotonic() - begin)))
    return found


def choose(merit: Array, costs: Array, count: int) -> list[int]:
    """Return the indices of the `count` points to train first, the best first.

    merit:  [N], more is better.    costs:  [N, C], to be minimised beside it; with none, the best alone are taken.
    With costs, front after front is taken; of one that does not fit, points evenly spread along the merit.
    """
    if not costs.shape[1]:
        return [int(index) for index in np.argsort(-merit, kind="stable")[:count]]
    values = np.concatenate([merit[:, None], costs], axis=1)
    ways: list[Direction] = ["max", *(["min"] * costs.shape[1])]  # pyright: ignore[reportAssignmentType]
    left, chosen = np.arange(len(merit)), list[int]()
    while len(left) and len(chosen) < count:
        best = np.asarray(front(values[left], ways), dtype=np.int64)
        ordered = left[best][np.argsort(-merit[left[best]], kind="stable")]
        room = count - len(chosen)
        if len(ordered) > room:
            ordered = ordered[np.unique(np.linspace(0, len(ordered) - 1, room).round().astype(np.int64))]
        chosen += [int(index) for index in ordered]
        left = np.delete(left, best)
    return chosen


def _drawn(prepared: Preparation, count: int, taken: set[str]) -> list[Architecture]:
    """Draw distinct feasible points, fewer where the space has no more."""
    rng = random.Random(derive_seed("warm start", prepared.settings.seed))
    found: dict[str, Architecture] = {}
    misses = 0
    while len(found) < count and misses < 100:
        arch = prepared.admission.draw(rng)
        if arch is None:
            break
        misses = misses + 1 if arch.id in found or arch.id in taken else 0
        if not misses:
            found[arch.id] = arch
    return list(found.values())


def _scores(
    prepared: Preparation,
    warm: WarmStart,
    points: Sequence[Architecture],
    executor: Executor,
    emit: Listener,
    check: Callable[[], None],
) -> tuple[dict[str, Array], dict[str, int]]:
    """Return each metric's scores [N], NaN where there is none, and why."""
    columns = {name: np.full(len(points), np.nan) for name in proxy(warm.proxy).metrics}
    failures: dict[str, int] = {}
    sent, done, begin = 0, 0, time.monotonic()
    said = begin

    def heed(report: Report) -> None:
        nonlocal done
        if isinstance(report, JobDone):
            for name, each in measured_from(report.outcome[warm.proxy]).items():
                columns[name][report.key] = each.value
        elif isinstance(report, (JobFailed, WorkerLost)):
            failures[report.reason] = failures.get(report.reason, 0) + 1
        else:
            return
        done += 1

    while done < len(points):
        check()
        if sent < len(points) and executor.idle():
            executor.submit(sent, _job(prepared, warm, sent, points[sent]))
            sent += 1
            continue
        executor.wait(heed)
        now = time.monotonic()
        if now - said > TELL_EVERY and 0 < done < len(points):
            said = now
            left = (now - begin) / done * (len(points) - done)
            emit(Notice(f"warm start: {done} of {len(points)} points scored, about {left:.0f} s left"))
    return columns, failures


def _job(prepared: Preparation, warm: WarmStart, number: int, arch: Architecture) -> str:
    settings, size = prepared.settings, prepared.size
    job = Job(
        trial_number=number, arch=arch, train_arch=size.twin(arch), data=settings.data, data_seed=settings.data_seed,
        recipe=settings.recipe or PROXY_RECIPE, resolution=size.resolution, cost_resolution=size.cost_resolution,
        seed=trial_seed(settings.seed, arch.id), device=settings.device or "cpu", threads=settings.threads,
        evaluators=(proxy(warm.proxy).model_validate({}),),
    )  # fmt: skip
    return job.model_dump_json(exclude_defaults=True)


def _counted(prepared: Preparation, points: Sequence[Architecture]) -> Array:
    """Return the counted objectives to be minimised, [N, C]."""
    objectives = prepared.settings.objectives
    names = [each.metric for each in objectives if each.metric in COUNTED and each.better == "min"]
    costs: list[Mapping[str, int]] = [prepared.size.cost(arch)._asdict() for arch in points]
    return np.array([[float(cost[name]) for name in names] for cost in costs]).reshape(len(points), len(names))


def _told(found: WarmPoints, seconds: float) -> str:
    text = (
        f"warm start: {found.scored} points scored in {seconds:.0f} s, the best {len(found.chosen)} are trained first"
    )
    if not found.failures:
        return text
    reason, count = max(found.failures.items(), key=lambda pair: pair[1])
    return f"{text}; {sum(found.failures.values())} have no score, {count} of them: {reason}"
