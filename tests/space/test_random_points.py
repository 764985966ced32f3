"""Random points of the grand space: they build, learn everywhere, and cost what the formula says."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest
import torch

from space import Architecture, DesignSpace, build, cost
from space.build import on_meta
from space.counting import counted

POINTS = int(os.environ.get("NAS_RANDOM_POINTS", "40"))
SIDE = 64
SPACE = DesignSpace.load("metaformer")


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """The tensors here are small, threads would wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def drawn(seed: int) -> Architecture:
    """A point of at most 2 M parameters, fitted to small images."""
    point = SPACE.sample_feasible(random.Random(seed), lambda arch: max(0.0, cost(arch).params / 2e6 - 1))
    return point.model_copy(update={"classes": 5}).fitted(SIDE)


@pytest.mark.parametrize("seed", range(POINTS))
def test_points_cost_what_is_counted_and_learn_everywhere(seed: int) -> None:
    point = drawn(seed)
    assert counted(on_meta(point), (1, 3, SIDE, SIDE)).cost == cost(point, SIDE)
    torch.manual_seed(seed)
    network = build(point, drop_path=0.0)
    with torch.no_grad():
        for parameter in network.parameters():  # scales start so small that gradients beyond them underflow
            if parameter.ndim == 1 and (parameter.abs() < 0.1).all():
                parameter.add_(0.3)
    logits = network(torch.randn(2, 3, SIDE, SIDE))
    assert logits.shape == (2, 5)
    (logits * torch.randn_like(logits)).sum().backward()
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("seed", range(max(8, POINTS // 10)))
def test_any_size_of_point_costs_what_is_counted(seed: int) -> None:
    point = SPACE.sample(random.Random(1000 + seed))
    assert counted(on_meta(point), (1, 3, 224, 224)).cost == cost(point, 224)
