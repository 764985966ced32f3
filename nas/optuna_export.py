"""Write a study into Optuna's own storage, so that Optuna's plots and optuna-dashboard open it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from nas.front import description_of, values_of
from nas.objective import Objective, objectives_in, vector
from space.errors import NasError
from trials.rows import EpochRow, TrialRow
from trials.store import Store

_STATES = {
    "complete": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "infeasible": TrialState.FAIL,
    "duplicate": TrialState.FAIL,
}


def export_optuna(store: Store, study: str, url: str) -> int:
    """Write the finished trials of a study to an Optuna storage, in the order of their numbers; return how many.

    Choices become parameters, epochs intermediate values (where there is one objective: Optuna allows no others), the
    remaining numbers and words user attributes. Queued and running trials are left out.

    Raises:  NasError if the storage cannot be opened, or has a study of that name.
    """
    row = store.study(study)
    objectives = objectives_in(row.config)
    rows = store.trials(row.id, state=tuple(_STATES))  # type: ignore[arg-type]
    curves: dict[int, list[EpochRow]] = {}
    if len(objectives) == 1:
        for epoch in store.epochs(row.id):
            curves.setdefault(epoch.number, []).append(epoch)
    known = _distributions([each.choices for each in rows])
    directions: list[Any] = ["maximize" if objective.better == "max" else "minimize" for objective in objectives]
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            made = optuna.create_study(storage=url, study_name=study, directions=directions)
            made.set_metric_names([objective.metric for objective in objectives])
        for key, value in {"nas:data": row.config.get("data"), "nas:code_version": row.code_version}.items():
            made.set_user_attr(key, value)
        made.add_trials([_frozen(each, objectives, known, curves.get(each.number, ())) for each in rows])
    except DuplicatedStudyError:
        raise NasError(f"{_plain(url)}: has a study {study!r} already; name another storage") from None
    except (SQLAlchemyError, ImportError, ValueError, OSError) as error:
        raise NasError(f"{_plain(url)}: {' '.join(str(error).split())[:300]}") from None
    return len(rows)


def _frozen(
    row: TrialRow, objectives: Sequence[Objective], known: Mapping[str, BaseDistribution], curve: Sequence[EpochRow]
) -> FrozenTrial:
    values = vector(objectives, values_of(row))
    state = _STATES[row.state]
    if state is TrialState.COMPLETE and values is None:
        state = TrialState.FAIL
    notes: dict[str, Any] = {"nas:trial": row.number, "nas:state": row.state, "nas:architecture": row.arch_id}
    notes |= {"nas:network": description_of(row), "nas:sampler": row.sampler, **values_of(row)}
    notes |= {"nas:reason": row.reason} if row.reason else {}
    metric = objectives[0].metric
    trial = optuna.trial.create_trial(
        state=state,
        values=list(values) if state is TrialState.COMPLETE and values is not None else None,
        params=dict(row.choices),
        distributions={path: known[path] for path in row.choices},
        user_attrs=notes,
        intermediate_values={epoch.epoch: epoch.metrics[metric] for epoch in curve if metric in epoch.metrics},
    )
    trial.datetime_start = (row.started or row.created).astimezone().replace(tzinfo=None)
    trial.datetime_complete = (row.finished or row.created).astimezone().replace(tzinfo=None)
    return trial


def _distributions(choices: Sequence[Mapping[str, Any]]) -> dict[str, BaseDistribution]:
    """Return a distribution of each choice that holds every value it took; Optuna wants one a name for all trials."""
    taken: dict[str, list[Any]] = {}
    for each in choices:
        for path, value in each.items():
            taken.setdefault(path, []).append(value)
    return {path: _distribution(values) for path, values in taken.items()}


def _distribution(values: Sequence[Any]) -> BaseDistribution:
    kinds = {type(value) for value in values}
    if kinds == {int}:
        return IntDistribution(min(values), max(values))
    if kinds == {float}:
        return FloatDistribution(min(values), max(values))
    return CategoricalDistribution(list(dict.fromkeys(values)))


def _plain(url: str) -> str:
    """Return the URL without its password."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return url
