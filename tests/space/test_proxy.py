"""Twins: smaller, and otherwise the same."""

from __future__ import annotations

import random

import pytest
import torch

from space import DesignSpace, Proxy, SpaceError, build, cost, named
from space.arch import Architecture


def kinds(arch: Architecture) -> list[set[str]]:
    return [{b.token_mixer.model_dump_json(exclude={"tokens"}) for b in s.blocks()} for s in arch.canonical().stages]


def test_a_twin_keeps_every_choice_but_the_size() -> None:
    point = named("caformer_s18").arch
    twin = Proxy(width=0.25, depth=0.5, resolution=32).shrink(point)
    assert [s.width for s in twin.stages] == [16, 32, 80, 128]
    assert [s.depth for s in twin.stages] == [2, 2, 4, 2]
    assert kinds(twin) == kinds(point)
    assert build(twin)(torch.randn(2, 3, 32, 32)).shape == (2, 1000)


def test_random_points_have_twins_that_run_and_cost_less() -> None:
    space, rng = DesignSpace.load("metaformer"), random.Random(0)
    proxy = Proxy(width=0.125, depth=0.25, resolution=32)
    for _ in range(100):
        point = space.sample(rng)
        twin = proxy.shrink(point)
        assert kinds(twin) == kinds(point)
        assert cost(twin, 32).macs < cost(point, 224).macs


def test_mixers_bound_to_a_map_size_are_fitted() -> None:
    twin = Proxy(resolution=64).shrink(named("randformer_s12").arch)
    tokens = [getattr(b.token_mixer, "tokens", None) for s in twin.stages for b in s.pattern]
    assert tokens == [None, None, 16, 4]


def test_images_too_small_for_the_stem_are_refused() -> None:
    isotropic = named("convnext_isotropic_small").arch
    with pytest.raises(SpaceError, match="tokens"):
        cost(named("randformer_s12").arch, 64)
    assert isotropic.sizes(16) == ((1, 1),)


def test_factors_above_one_are_refused() -> None:
    with pytest.raises(ValueError, match="less than or equal to 1"):
        Proxy(width=2.0)
