"""Points a search begins with: named models and stored trials, fitted to the data and, where needed, to the limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nas.admission import Admission
from nas.fitted_space import FittedSpace
from nas.naming import trial_reference
from nas.quantities import short
from nas.resizing import FACTORS, Resize
from space import Architecture, NasError, NotInSpace
from space.errors import nearest
from space.named import model_names, named
from trials.store import Store


@dataclass(frozen=True)
class StartPoint:
    """A point to try first."""

    name: str
    arch: Architecture
    notice: str | None
    """What had to be changed, in words."""


def start_points(names: Sequence[str], store: Store, space: FittedSpace, admission: Admission) -> list[StartPoint]:
    """Return the points of these names, each inside the space and the limits.

    Raises:  NasError naming the model or trial that is unknown, lies outside the space (with the offending choice), or
             exceeds the limits at every width and depth the space has.
    """
    return [_fitted(name, space.fit(_resolve(name, store)), space, admission) for name in names]


def _resolve(name: str, store: Store) -> Architecture:
    reference = trial_reference(name)
    if reference is not None:
        study, number = reference
        return Architecture.model_validate_json(store.trial(store.study(study).id, number).arch_json)
    known = model_names()
    if name not in known:
        raise NasError(f"start-from {name!r}: neither a named model nor a trial (STUDY:NUMBER){nearest(name, known)}")
    return named(name).arch


def _fitted(name: str, arch: Architecture, space: FittedSpace, admission: Admission) -> StartPoint:
    try:
        space.encode(arch)
    except NotInSpace as error:
        raise NasError(f"start-from {name!r}: not in space {space.space.name}: {error}") from None
    verdict = admission.judge(arch)
    if verdict.state != "infeasible" or verdict.predicted_ms is not None:
        return StartPoint(name, arch, None)
    resize = Resize(space, arch)
    for wide, deep in ((f, g) for factor in FACTORS for f, g in ((factor, 1.0), (factor, factor), (1.0, factor))):
        smaller = resize(wide, deep)
        if smaller is not None and admission.over(smaller) <= 0:
            cost = admission.size.cost(smaller)
            factors = " and ".join(f"{n} x{f:g}" for n, f in (("width", wide), ("depth", deep)) if f < 1)
            changed = f"{factors}: {short(cost.params)} parameters, {short(cost.macs)} MACs"
            notice = f"start-from {name}: {verdict.reason}; scaled into the limits by {changed}"
            return StartPoint(name, smaller, notice)
    raise NasError(f"start-from {name!r}: {verdict.reason}; no smaller width and depth in the space meets the limits")
