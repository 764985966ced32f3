"""The walk and its inverse, over random points of every preset."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from space import Architecture, DesignSpace, NotInSpace, SpaceError, model_names, named
from space.build import build

SPACES = {name: DesignSpace.load(name) for name in ("metaformer", "tiny")}
seeds = st.integers(0, 2**32 - 1)
each_space = pytest.mark.parametrize("name", SPACES)


@each_space
@settings(max_examples=60, deadline=None)
@given(seed=seeds)
def test_every_point_is_found_again(name: str, seed: int) -> None:
    space, rng = SPACES[name], random.Random(seed)
    point = space.sample(rng)
    assert point in space
    assert space.decode(space.encode(point)) == point
    assert Architecture.model_validate_json(point.model_dump_json(exclude_defaults=True)) == point
    assert space.encode(point).keys() == space.active(point).keys()


@each_space
@settings(max_examples=40, deadline=None)
@given(seed=seeds)
def test_neighbours_stay_inside_and_distance_is_a_metric(name: str, seed: int) -> None:
    space, rng = SPACES[name], random.Random(seed)
    a, b = space.sample(rng), space.sample(rng)
    for other in (space.mutate(a, rng), space.crossover(a, b, rng)):
        assert other in space
    assert space.distance(a, a) == 0
    assert space.distance(a, b) == pytest.approx(space.distance(b, a))
    assert 0 < space.distance(a, space.mutate(a, rng)) <= 1


@pytest.mark.parametrize("model", model_names())
def test_every_named_model_is_a_point_of_the_grand_space(model: str) -> None:
    point = named(model).arch
    assert SPACES["metaformer"].decode(SPACES["metaformer"].encode(point)) == point


def test_a_point_outside_is_told_where_it_leaves() -> None:
    with pytest.raises(NotInSpace, match=r"stages: 4 items, the space has 2 items"):
        SPACES["tiny"].encode(named("convnext_tiny").arch)
    point = SPACES["tiny"].sample(random.Random(0))
    stage = point.stages[0].model_copy(update={"depth": 9})
    with pytest.raises(NotInSpace, match=r"stages\[0\].depth: 9, the space has 1..2"):
        SPACES["tiny"].encode(point.model_copy(update={"stages": (stage, *point.stages[1:])}))


def test_decoding_refuses_what_the_space_does_not_have() -> None:
    space = SPACES["tiny"]
    params = space.encode(space.sample(random.Random(0)))
    with pytest.raises(SpaceError, match=r"\$width: 9, the space has 8..24 step 8"):
        space.decode(params | {"$width": 9})
    with pytest.raises(SpaceError, match="no value; the choice is open here"):
        space.decode({})


def test_tied_choices_are_made_once() -> None:
    for seed in range(20):
        point = SPACES["tiny"].sample(random.Random(seed))
        first, second = point.stages
        assert second.width == 2 * first.width
        assert {b.token_mixer.kind for s in point.stages for b in s.pattern} == {first.pattern[0].token_mixer.kind}


def test_size_is_exact_on_a_space_small_enough_to_enumerate() -> None:
    text = """
let: {k: {one_of: [3, 5, 7]}, spare: {one_of: [1.0, 2.0]}}
stem: {kind: patchify}
stages:
  - {width: 16, depth: {int_range: [1, 2]}, pattern: {repeat: {int_range: [1, 2]}, of: {token_mixer: {one_of: [
      {kind: depthwise_conv, kernel_size: {use: k}}, {kind: pool}, {kind: separable_conv, ratio: {use: spare}}]}}}}
"""
    space = DesignSpace.from_yaml(text)
    seen: set[str] = set()
    rng = random.Random(0)
    for _ in range(4000):
        seen.add(json.dumps(space.encode(space.sample(rng)), sort_keys=True))
    assert space.size().points == len(seen)


def test_real_ranges_are_uncountable() -> None:
    text = "stem: {kind: patchify}\nstages: [{width: 16, depth: 1, pattern: [{token_mixer: {kind: pool}, \
            channel_mixer: {kind: mlp, ratio: {float_range: [1, 4]}}}]}]"
    space = DesignSpace.from_yaml(text)
    assert space.size().points is None
    point = space.sample(random.Random(1))
    assert 1 <= point.stages[0].pattern[0].channel_mixer.ratio <= 4  # type: ignore[attr-defined]
    assert space.decode(space.encode(point)) == point


def test_the_id_is_that_of_the_function() -> None:
    point = named("convnext_tiny").arch
    twice = tuple(s.model_copy(update={"pattern": s.pattern * 2}) for s in point.stages)
    other = point.model_copy(update={"stages": twice})
    assert other != point
    assert other.id == point.id
    assert other.canonical() == point.canonical()
    assert point.model_copy(update={"classes": 10}).id != point.id


def test_the_network_of_a_random_point_learns_everywhere() -> None:
    import torch

    for seed in range(6):
        point = SPACES["tiny"].sample(random.Random(seed))
        model = build(point.model_copy(update={"classes": 5}), drop_path=0.1)
        out = model(torch.randn(2, 3, 32, 32))
        assert out.shape == (2, 5)
        out.square().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
