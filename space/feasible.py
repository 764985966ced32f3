"""Drawing points under limits, also where fewer than one uniform draw in ten thousand is feasible.

Blind rejection is hopeless there. The first uniform draw is taken where it is feasible, which leaves every feasible
point a positive probability; otherwise a draw walks to the feasible set by Gibbs steps on the violation: one choice at
a time, mostly a number that fixes the size, is redrawn among the values that are feasible, or else in favour of less.
A few more steps inside the set forget the way in.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from space.arch import Architecture
from space.choice import OneOf
from space.errors import SpaceError
from space.walk import Domain, Params, Value, allows, draw, support

if TYPE_CHECKING:
    from space.design import DesignSpace

Violation = Callable[[Architecture], float]
"""How far a point is over the limits: 0 when feasible, growing with the excess; inf where it cannot be costed."""

STARTS = 20
"""Uniform draws tried as the beginning of a walk: in whole branches of a space nothing may be feasible."""
RESTARTS = 20
STEPS = 150
STEPS_INSIDE = 8
VALUES_TRIED = 6
SIZE_FIRST = 0.75
"""Share of the steps on the way in that redraw a number (width, depth) and not a kind."""


class _State(NamedTuple):
    arch: Architecture
    over: float
    params: Params
    domains: dict[str, Domain]


def sample_feasible(space: DesignSpace, rng: random.Random, violation: Violation) -> Architecture:
    """Draw a point with `violation(point) <= 0`. Raises SpaceError when RESTARTS walks find none."""
    arch = space.sample(rng)
    if violation(arch) <= 0:
        return arch
    best = math.inf
    for _ in range(RESTARTS):
        state = _drawn(space, rng, violation)
        if state is None:
            continue
        for _ in range(STEPS):
            if state.over <= 0:
                break
            state = _step(space, state, rng, violation)
        if state.over <= 0:
            for _ in range(STEPS_INSIDE):
                state = _step(space, state, rng, violation)
            return state.arch
        best = min(best, state.over)
    closest = f"the closest is over by {best:.1%}" if math.isfinite(best) else "none could be costed"
    raise SpaceError(f"{space.name}: no point within the limits found; {closest}")


def _drawn(space: DesignSpace, rng: random.Random, violation: Violation) -> _State | None:
    """Draw a point whose kinds could be feasible: that is when its numbers are all at their least."""
    state = None
    for _ in range(STARTS):
        state = _replayed(space, {}, rng, violation) or state
        if state is None:
            continue
        numbers = {path: support(domain)[0] for path, domain in state.domains.items() if not isinstance(domain, OneOf)}
        least = _replayed(space, state.params | numbers, rng, violation)
        if least is not None and least.over <= 0:
            return state
    return state


def _replayed(space: DesignSpace, params: Params, rng: random.Random, violation: Violation) -> _State | None:
    """Follow `params` where they apply, draw the rest; None where a rule across fields refuses the point."""
    taken: Params = {}
    domains: dict[str, Domain] = {}

    def choose(path: str, domain: Domain) -> Value:
        value = params[path] if path in params and allows(domain, params[path]) else draw(domain, rng)
        taken[path], domains[path] = value, domain
        return value

    try:
        arch = space.realise(choose)
    except ValidationError:
        return None
    return _State(arch, violation(arch), taken, domains)


def _step(space: DesignSpace, state: _State, rng: random.Random, violation: Violation) -> _State:
    """Redraw one choice: uniformly among feasible values, or, where none is, in favour of less violation."""
    path = _path(state, rng)
    if path is None:
        return state
    tried = _values(state.domains[path], state.params[path], rng)
    moved = (_replayed(space, state.params | {path: value}, rng, violation) for value in tried)
    states = [state, *(s for s in moved if s is not None)]
    inside = [s for s in states if s.over <= 0]
    if inside:
        return rng.choice(inside)
    least = min(s.over for s in states)
    if not math.isfinite(least):
        return rng.choice(states)
    return rng.choices(states, [math.exp(-8 * (s.over - least) / least) for s in states])[0]


def _values(domain: Domain, current: Value, rng: random.Random) -> list[Any]:
    """Values to try: some anywhere, and of a number its neighbours, half of it and the least."""
    values: list[Any] = support(domain)
    if isinstance(domain, OneOf) or current not in values:
        return rng.sample(values, min(VALUES_TRIED, len(values)))
    at = values.index(current)
    near = [values[i] for i in (0, at // 2, at - 1, at + 1) if 0 <= i < len(values)]
    return near + rng.sample(values, min(VALUES_TRIED // 2, len(values)))


def _shrinkable(domain: Domain, value: Value) -> bool:
    """Tell whether the choice is a number that can still be less."""
    return not isinstance(domain, OneOf) and value != support(domain)[0]


def _path(state: _State, rng: random.Random) -> str | None:
    open_ = [path for path, domain in state.domains.items() if len(support(domain)) > 1]
    sizes = [path for path in open_ if _shrinkable(state.domains[path], state.params[path])]
    if sizes and state.over > 0 and rng.random() < SIZE_FIRST:
        return rng.choice(sizes)
    return rng.choice(open_) if open_ else None
