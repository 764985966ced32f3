"""Points a search begins with: named models and stored trials, fitted to the data and, where needed, to the limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nas.admission import Admission
from nas.fitted_space import FittedSpace
from nas.naming import trial_reference
from nas.quantities import short
from space import Architecture, NasError, NotInSpace, SpaceError, models, named
from space.errors import nearest
from space.walk import Domain, Params, Value, support
from trials.store import Store

FACTORS = tuple(percent / 100 for percent in range(95, 0, -5))
"""Factors tried on the widths and depths of a start point that is over a limit, from mild to drastic."""


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
    known = models()
    if name not in known:
        raise NasError(f"start-from {name!r}: neither a named model nor a trial (STUDY:NUMBER){nearest(name, known)}")
    return named(name).arch


def _fitted(name: str, arch: Architecture, space: FittedSpace, admission: Admission) -> StartPoint:
    try:
        params = space.encode(arch)
    except NotInSpace as error:
        raise NasError(f"start-from {name!r}: not in space {space.space.name}: {error}") from None
    verdict = admission.judge(arch)
    if verdict.state != "infeasible":
        return StartPoint(name, arch, None)
    for text, smaller in _shrunken(arch, params, space):
        if admission.over(smaller) <= 0:
            cost = admission.size.cost(smaller)
            changed = f"{text}: {short(cost.params)} parameters, {short(cost.macs)} MACs"
            return StartPoint(name, smaller, f"start-from {name}: {verdict.reason}; scaled into the limits by {changed}")
    raise NasError(f"start-from {name!r}: {verdict.reason}, and no smaller width and depth in the space meets the limits")


def _shrunken(arch: Architecture, params: Params, space: FittedSpace) -> Iterator[tuple[str, Architecture]]:
    """Yield ever smaller versions whose widths and depths are choices of the space; all else stays."""
    domains = space.active(arch)
    widths = _sizing(arch, params, domains, space, "width")
    depths = _sizing(arch, params, domains, space, "depth")
    for factor in FACTORS:
        for wide, deep in ((factor, 1.0), (factor, factor), (1.0, factor)):
            values = {path: _nearest(domains[path], params[path], wide) for path in widths}
            values |= {path: _nearest(domains[path], params[path], deep) for path in depths}
            try:
                smaller = space.decode(params | values)
            except SpaceError:
                continue  # these sizes break a rule across fields
            if smaller != arch:
                yield " and ".join(f"{n} x{f:g}" for n, f in (("width", wide), ("depth", deep)) if f < 1), smaller


def _sizing(
    arch: Architecture, params: Params, domains: dict[str, Domain], space: FittedSpace, field: str
) -> list[str]:
    """Return the choices of numbers whose change alters this field of the stages and nothing else."""
    found: list[str] = []
    for path, domain in domains.items():
        others = [value for value in _numbers(domain) if value != params[path]]
        if not others or isinstance(params[path], (bool, str)):
            continue
        try:
            changed = space.decode(params | {path: others[0]})
        except SpaceError:
            continue
        if changed != arch and _without(changed, field) == _without(arch, field):
            found.append(path)
    return found


def _numbers(domain: Domain) -> list[int | float]:
    return [value for value in support(domain) if isinstance(value, (int, float)) and not isinstance(value, bool)]


def _without(arch: Architecture, field: str) -> Architecture:
    return arch.model_copy(update={"stages": tuple(stage.model_copy(update={field: 1}) for stage in arch.stages)})


def _nearest(domain: Domain, value: Value, factor: float) -> Value:
    """Return the number of the domain next to `value * factor`; the value itself for factor 1."""
    if factor == 1.0:
        return value
    goal = float(value) * factor
    return min(_numbers(domain), key=lambda number: abs(number - goal))
