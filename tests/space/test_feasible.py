"""Drawing under limits."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from space import Architecture, DesignSpace, SpaceError, cost

SMALL = """
stem: {kind: patchify}
stages:
  - width: {int_range: [8, 32], step: 8}
    depth: {int_range: [1, 3]}
    pattern: [{token_mixer: {one_of: [{kind: pool}, {kind: identity}]}}]
"""
"""Twenty-four points."""


def under(limit: float, resolution: int) -> Callable[[Architecture], float]:
    def violation(arch: Architecture) -> float:
        return max(0.0, cost(arch, resolution).params / limit - 1)

    return violation


def test_points_under_a_limit_that_no_uniform_draw_meets() -> None:
    space, rng = DesignSpace.load("metaformer"), random.Random(0)
    violation = under(1.5e5, 224)
    blind = [space.sample(rng) for _ in range(500)]
    drawn = [space.sample_feasible(rng, violation) for _ in range(25)]
    assert not any(violation(p) <= 0 for p in blind)
    assert all(violation(p) <= 0 and p in space for p in drawn)
    assert len({p.id for p in drawn}) == 25
    kinds = {b.token_mixer.kind for p in drawn for s in p.stages for b in s.pattern}
    assert len(kinds) >= 5


def test_limits_leave_every_branch_in_which_something_is_feasible() -> None:
    space, rng = DesignSpace.load("metaformer"), random.Random(0)
    drawn = [space.sample_feasible(rng, under(1e6, 224)) for _ in range(30)]
    stages = [len(p.stages) for p in drawn]
    assert 8 <= stages.count(1) <= 22
    assert stages.count(1) + stages.count(4) == 30


def test_every_feasible_point_of_a_small_space_turns_up() -> None:
    space = DesignSpace.from_yaml(SMALL)
    rng, violation = random.Random(0), under(40_000, 32)
    everything = {p.id: p for p in (space.sample(rng) for _ in range(2000))}
    feasible = {key for key, p in everything.items() if violation(p) <= 0}
    assert 0 < len(feasible) < len(everything)
    assert {space.sample_feasible(rng, violation).id for _ in range(600)} == feasible


def test_an_impossible_limit_is_refused_with_how_close_it_came() -> None:
    with pytest.raises(SpaceError, match="no point within the limits found; the closest is over by"):
        DesignSpace.from_yaml(SMALL).sample_feasible(random.Random(0), under(100, 32))
