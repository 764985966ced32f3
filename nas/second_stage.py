"""The second stage of a search: the front's best-spread points, trained by the full recipe in a study of their own.

That study is named after the first (`digits-a-full`), starts from its trials and has no proposals of its own, so that
it is run, resumed, watched and shown as any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from nas.fidelity import Fidelity
from nas.front import FrontPoint, front_points, values_of
from nas.naming import trial_reference
from nas.objective import COUNTED, Objective, objectives_in, vector
from nas.pareto import hypervolume, ranks
from nas.preparation import Preparation, restore
from nas.rank_correlation import Interval, spearman
from nas.settings import SearchSettings
from nas.start_points import StartPoint, start_points
from space import Architecture, DesignSpace, NasError
from trials.rows import StudyRow, TrialRow
from trials.store import Store
from trials.training.recipe import recipe

SCALED = (*COUNTED, "latency_ms")
"""Metrics whose factors count, not their differences."""


@dataclass(frozen=True)
class Stage:
    """A study ready to run."""

    study: StudyRow
    prepared: Preparation
    starts: list[StartPoint]
    resumed: bool


@dataclass(frozen=True)
class Outcome:
    """What a second stage came to."""

    study: str
    trained: int
    count: int
    """Networks that are trained in all."""
    front: tuple[FrontPoint, ...]
    sources: dict[int, int]
    """Number of the first study's trial of each trial of the second."""
    metric: str | None
    """What is learnt in both stages; None where the objectives are costs alone."""
    pairs: tuple[tuple[float, float], ...]
    """That metric in the first and in the second stage, of each network that has both."""
    correlation: Interval | None
    """Spearman's rank correlation of the pairs, with a bootstrap interval; None below three networks."""

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON-able values."""
        found = self.correlation
        return {
            "study": self.study,
            "trained": self.trained,
            "count": self.count,
            "front": [{**point.as_json(), "of_trial": self.sources.get(point.trial)} for point in self.front],
            "metric": self.metric,
            "pairs": [list(pair) for pair in self.pairs],
            "spearman": None if found is None else {"value": found.value, "low": found.low, "high": found.high},
        }

    def sentence(self) -> str:
        """Say how well the first stage predicted the second."""
        done = (
            f"{self.trained} of {self.count} networks of the front trained with the full recipe, as study {self.study}"
        )
        if self.correlation is None or not np.isfinite(self.correlation.value):
            return f"{done}; too few for a rank correlation"
        found = self.correlation
        interval = f"{found.low:.2f} to {found.high:.2f} with 95 % confidence, {len(self.pairs)} networks"
        return f"{done}; rank correlation of {self.metric} in both: {found.value:.2f} ({interval})"


def second_name(study: str, settings: SearchSettings) -> str:
    """Return the name of the study that is a study's second stage."""
    return f"{study}-{settings.then.recipe if settings.then else 'full'}"


def check_free(store: Store, settings: SearchSettings) -> None:
    """Make sure that the second stage can have its name. Raises NasError."""
    if settings.then is None:
        return
    name = second_name(settings.study, settings)
    if any(each.name == name for each in store.studies()):
        raise NasError(f"then {settings.then}: study {name!r} exists in store {store.url}; choose another --study")


def second_stage(store: Store, study: StudyRow, prepared: Preparation) -> Stage | None:
    """Return the second stage of a finished first one, made or taken up; None where nothing can be trained.

    Points that have been begun stay; where the first study went on meanwhile, points of its new front are added.
    """
    name = second_name(study.name, prepared.settings)
    known = next((store.study(name) for each in store.studies() if each.name == name), None)
    settings = _settings(prepared) if known is None else SearchSettings.make(**known.config)
    design = DesignSpace.from_yaml(study.space, settings.space)
    found = restore(settings.model_copy(update={"study": name}), design, study.data_fingerprint)
    chosen = _chosen(store.trials(study.id, state="complete"), prepared, found)
    names = list(dict.fromkeys([*settings.start_from, *(f"{study.name}:{number}" for number in chosen)]))
    if not names:
        return None
    settings = found.settings.model_copy(update={"start_from": tuple(names), "budget": len(names)})
    config = settings.model_dump(mode="json")
    if known is None:
        row = store.create_study(
            name, space=study.space, config=config, code_version=version("nas-vision"),
            data_fingerprint=study.data_fingerprint,
        )  # fmt: skip
    else:
        row = known if known.config == config else store.update_config(name, config)
    found = restore(settings, design, study.data_fingerprint)
    starts = start_points(settings.start_from, store, found.space, found.admission)
    return Stage(row, found, starts, resumed=known is not None)


def _settings(prepared: Preparation) -> SearchSettings:
    """Return the settings of the second stage, but for its points."""
    first, data = prepared.settings, prepared.data
    then = first.then
    if then is None:
        raise NasError("then: not given")
    trained = recipe(then.recipe).model_copy(update={"epochs": then.epochs} if then.epochs else {})
    trained = trained.for_data(len(data.train))
    return first.model_copy(
        update={
            "then": None,
            "start_from_store": False,
            "warm_start": None,
            "warm_points": None,
            "features": (),
            "fidelity": Fidelity(),
            "sampler": "random",
            # the points were held to them already, and a second measurement must not lose one
            "limits": (),
            "train_as": "full",
            "proxy": None,
            "resolution": first.resolution if first.train_as == "full" else data.resolution,
            "recipe": trained,
            "epochs": trained.epochs,
        }
    )


def _chosen(rows: Sequence[TrialRow], first: Preparation, second: Preparation) -> list[int]:
    """Return the numbers of the trials to train: best spread along the front, then along what lies behind it."""
    settings = first.settings
    count = settings.then.count if settings.then else 0
    archs = {row.number: Architecture.model_validate_json(row.arch_json) for row in rows}
    kept = [row for row in rows if vector(settings.objectives, values_of(row)) is not None]
    kept = [row for row in kept if second.admission.over(archs[row.number]) <= 0]
    if not kept:
        return []
    values = np.array([vector(settings.objectives, values_of(row)) for row in kept])
    rank = np.array(ranks(values, [objective.better for objective in settings.objectives]))
    chosen: list[int] = []
    for level in range(int(rank.max()) + 1):
        members = np.flatnonzero(rank == level)
        order = spread_order(values[members], settings.objectives)
        chosen += [kept[members[index]].number for index in order]
        if len(chosen) >= count:
            break
    return chosen[:count]


def spread_order(values: np.ndarray[Any, Any], objectives: Sequence[Objective]) -> list[int]:
    """Return the indices of points [N, M] such that the first K of them are spread best along their front.

    Each next point is the one that adds most hypervolume to those before it (greedy subset selection, which comes
    within 1 - 1/e of the best subset; Guerreiro, Fonseca and Paquete, 2016). Unlike the crowding distance, it is
    defined for any number of objectives, does not take two points side by side at the rim of a gap, and prefers a knee
    to a point that gives up much for little. Costs count by their logarithm; each objective is scaled to [0, 1], and
    the reference lies a tenth beyond the worst, so that the ends of the front count.
    """
    less = np.array(values, dtype=np.float64)
    for column, objective in enumerate(objectives):
        if objective.metric in SCALED:
            less[:, column] = np.log(np.maximum(less[:, column], 1e-12))
        less[:, column] *= -1.0 if objective.better == "max" else 1.0
    span = less.max(axis=0) - less.min(axis=0)
    less = (less - less.min(axis=0)) / np.where(span > 0, span, 1.0)
    reference, order = [1.1] * less.shape[1], list[int]()
    while len(order) < len(less):
        left = [index for index in range(len(less)) if index not in order]
        gains = [hypervolume(less[[*order, index]], ["min"] * less.shape[1], reference) for index in left]
        order.append(left[int(np.argmax(np.round(gains, 12)))])
    return order


def read_second(store: Store, study: StudyRow) -> Outcome | None:
    """Return what the second stage of a study came to so far; None where it has none."""
    if not study.config.get("then"):
        return None
    name = f"{study.name}-{study.config['then']['recipe']}"
    if all(each.name != name for each in store.studies()):
        return None
    second = store.study(name)
    objectives = objectives_in(second.config)
    rows = store.trials(second.id)
    sources = {row.number: ref[1] for row in rows if row.origin and (ref := trial_reference(row.origin))}
    metric = next((o.metric for o in objectives if o.metric not in SCALED), None)
    firsts = {row.number: row for row in store.numbered(study.id, sorted(set(sources.values())))}
    pairs: list[tuple[float, float]] = []
    for row in rows:
        first = firsts.get(sources.get(row.number, -1))
        if row.state == "complete" and metric and first and metric in first.values and metric in row.values:
            pairs.append((first.values[metric], row.values[metric]))
    return Outcome(
        study=name,
        trained=sum(row.state in ("complete", "failed") for row in rows),
        count=int(second.config["budget"]),
        front=tuple(front_points(rows, objectives)),
        sources=sources,
        metric=metric,
        pairs=tuple(pairs),
        correlation=spearman(*zip(*pairs, strict=True)) if len(pairs) > 2 else None,
    )
