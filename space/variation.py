"""Neighbours of points: mutation, crossover and distance, all by replaying choices."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from space.arch import Architecture
from space.choice import FloatRange, IntRange, OneOf
from space.errors import SpaceError
from space.walk import Domain, Params, Value, allows, draw, support

if TYPE_CHECKING:
    from space.design import DesignSpace

TRIES = 100
"""Attempts before a rule across fields counts as leaving no neighbour."""


def replay(space: DesignSpace, params: Params, rng: random.Random) -> Architecture:
    """Follow `params` where a choice is open and allows them; draw the rest. May raise ValidationError."""

    def choose(path: str, domain: Domain) -> Value:
        return params[path] if path in params and allows(domain, params[path]) else draw(domain, rng)

    return space.realise(choose)


def mutate(space: DesignSpace, arch: Architecture, rng: random.Random) -> Architecture:
    """Redraw one choice of `arch`; what it opens is drawn, what it leaves alone is kept.

    Raises NotInSpace for a point outside, SpaceError when the space has a single point or no valid neighbour.
    """
    params, domains = space.encode(arch), space.active(arch)
    free = [path for path, domain in domains.items() if len(support(domain)) > 1]
    if not free:
        raise SpaceError(f"{space.name}: nothing to mutate, every choice is fixed")
    for _ in range(TRIES):
        path = rng.choice(free)
        domain = domains[path]
        value = draw(domain, rng) if isinstance(domain, FloatRange) else _other(support(domain), params[path], rng)
        try:
            return replay(space, params | {path: value}, rng)
        except ValidationError:
            continue
    raise SpaceError(f"{space.name}: {TRIES} mutations in a row were invalid")


def _other(values: list[Any], current: Any, rng: random.Random) -> Any:
    return rng.choice([v for v in values if type(v) is not type(current) or v != current])


def crossover(space: DesignSpace, a: Architecture, b: Architecture, rng: random.Random) -> Architecture:
    """Take each choice from `a` or `b` by a fair coin; draw what is open in neither. Raises NotInSpace, SpaceError."""
    from_a, from_b = space.encode(a), space.encode(b)
    for _ in range(TRIES):
        params = from_a | from_b | {path: value for path, value in from_a.items() if rng.random() < 0.5}
        try:
            return replay(space, params, rng)
        except ValidationError:
            continue
    raise SpaceError(f"{space.name}: {TRIES} crossings in a row were invalid")


def distance(space: DesignSpace, a: Architecture, b: Architecture) -> float:
    """Gower distance over choices, in [0, 1]; a choice open on one side only counts 1. Raises NotInSpace."""
    from_a, from_b = space.encode(a), space.encode(b)
    domains = space.active(a) | space.active(b)

    def gap(path: str, domain: Domain) -> float:
        if path not in from_a or path not in from_b or isinstance(domain, OneOf):
            return float(from_a.get(path) != from_b.get(path))
        low, high = domain.int_range if isinstance(domain, IntRange) else domain.float_range
        return abs(float(from_a[path]) - float(from_b[path])) / ((high - low) or 1)

    return sum(gap(path, domain) for path, domain in domains.items()) / (len(domains) or 1)
