"""Admission: limits, duplicates, draws that are feasible and new, small spaces listed to the last point."""

from __future__ import annotations

import random

import pytest

from nas.admission import Admission
from nas.fitted_space import FittedSpace
from nas.objective import Limit, ObjectiveError
from nas.repair import mend
from nas.resizing import Resize
from nas.training_size import TrainingSize
from space import DesignSpace, build

TINY = """
resolution: 32
stem: {kind: patchify}
stages:
  - width: {int_range: [8, 64], step: 8}
    depth: {int_range: [1, 4]}
    pattern: [{norm: {kind: batch_norm}, token_mixer: {one_of: [{kind: pool}, {kind: identity}]}}]
"""


def admission(*limits: str, text: str | None = TINY, size: TrainingSize | None = None) -> Admission:
    design = DesignSpace.from_yaml(text, "here.yaml") if text else DesignSpace.load("metaformer")
    size = size or TrainingSize("full", None, design.resolution, design.resolution)
    space = FittedSpace(design, classes=10, in_channels=1).at(size.cost_resolution)
    return Admission(space, size, [Limit.parse(limit) for limit in limits])


def test_points_have_the_classes_and_channels_of_the_data_and_encode_back() -> None:
    space = admission().space
    for seed in range(10):
        arch = space.draw(random.Random(seed), lambda arch: 0.0)
        assert (arch.classes, arch.in_channels) == (10, 1)
        assert space.decode(space.encode(arch)) == arch
        assert space.fit(space.mutate(arch, random.Random(seed))).classes == 10


def test_mixers_that_know_their_resolution_are_fitted_and_encode_back() -> None:
    space = admission(text=None).space.at(64)
    fitted = 0
    for seed in range(60):
        arch = space.draw(random.Random(seed), lambda arch: 0.0)
        params = space.encode(arch)
        assert space.decode(params) == arch
        fitted += any("random" in str(value) for value in params.values())
    assert fitted, "no draw had a mixer to fit: the test would prove nothing"


def test_every_point_of_a_small_space_is_listed_once() -> None:
    listed = list(admission().space.points())
    assert len(listed) == len({arch.id for arch in listed}) == 8 * 4 * 2


def test_verdicts() -> None:
    judge = admission("params<=5k")
    small, large = (judge.space.decode({**choices}) for choices in _two_sizes(judge))
    verdict = judge.judge(small)
    assert (verdict.state, verdict.reason) == ("queued", None)
    assert verdict.params == sum(p.numel() for p in build(small).parameters())
    assert judge.judge(large).state == "infeasible"
    assert "> 5,000" in (judge.judge(large).reason or "")
    judge.seen[small.id] = 7
    assert (judge.judge(small).state, judge.judge(small).duplicate_of) == ("duplicate", 7)


def _two_sizes(judge: Admission) -> list[dict[str, object]]:
    base = judge.space.encode(judge.space.draw(random.Random(0), lambda arch: 0.0))
    return [base | {"stages[0].width": width, "stages[0].depth": 1} for width in (8, 64)]  # pyright: ignore[reportReturnType]


def test_a_point_whose_cost_cannot_be_computed_is_infeasible_for_that_reason() -> None:
    text = TINY.replace("{kind: identity}", "{kind: random_mixing, tokens: {one_of: [64, 10]}}")
    judge = admission(text=text)
    verdicts = [judge.judge(arch) for arch in judge.space.points()]
    assert {verdict.state for verdict in verdicts} == {"queued", "infeasible"}
    assert all("tokens" in (v.reason or "") and v.params is None for v in verdicts if v.state == "infeasible")
    for seed in range(10):
        drawn = judge.draw(random.Random(seed))
        assert drawn is not None
        assert judge.judge(drawn).state == "queued"


def test_draws_are_feasible_and_new_until_none_is_left() -> None:
    judge = admission("params<=5k")
    rng = random.Random(0)
    while (arch := judge.draw(rng)) is not None:
        assert judge.judge(arch).state == "queued"
        judge.seen[arch.id] = len(judge.seen)
    expected = {arch.id for arch in judge.space.points() if judge.size.cost(arch).params <= 5_000}
    assert set(judge.seen) == expected


def test_draws_stay_feasible_where_hardly_any_uniform_draw_is() -> None:
    judge = admission("params<=500k", "params>=300k", text=None)
    rng = random.Random(1)
    blind = [judge.over(judge.space.draw(random.Random(i), lambda arch: 0.0)) <= 0 for i in range(200)]
    drawn = [judge.draw(rng) for _ in range(5)]
    assert sum(blind) <= 2
    assert all(arch is not None and 300_000 <= judge.size.cost(arch).params <= 500_000 for arch in drawn)
    assert len({arch.id for arch in drawn if arch is not None}) == 5


def test_impossible_limits_are_named() -> None:
    with pytest.raises(ObjectiveError) as caught:
        admission("params<=10", "macs<=1M").check_possible(0)
    assert "params<=10" in str(caught.value)
    assert "here.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_slow_networks_turn_draws_towards_small_ones_without_shutting_out_any() -> None:
    judge = admission()
    largest = max(judge.size.cost(arch).macs for arch in judge.space.points())
    judge.slower_than_allowed(largest / 4)
    drawn = [judge.draw(random.Random(seed)) for seed in range(40)]
    macs = [judge.size.cost(arch).macs for arch in drawn if arch is not None]
    assert sum(value <= largest / 8 for value in macs) > len(macs) / 2
    assert max(macs) > largest / 8
    judge.fast_enough(largest)
    assert max(judge.size.cost(judge.draw(random.Random(s)) or drawn[0]).macs for s in range(40)) > largest / 2  # pyright: ignore[reportArgumentType]


def test_mending_keeps_the_mixer_of_an_oversized_point() -> None:
    judge = admission("params<=5k")
    _, choices = _two_sizes(judge)
    large = judge.space.decode(choices)  # pyright: ignore[reportArgumentType]
    smaller = mend(large, judge, random.Random(0))
    assert smaller is not None
    assert judge.over(smaller) <= 0
    assert smaller.stages[0].pattern == large.stages[0].pattern
    judge.seen[smaller.id] = 0
    other = mend(smaller, judge, random.Random(0))
    assert other is not None
    assert other.id != smaller.id
    assert judge.judge(other).state == "queued"


def test_resizing_moves_widths_and_depths_only() -> None:
    judge = admission(text=None)
    for seed in range(5):
        arch = judge.space.draw(random.Random(seed), lambda arch: 0.0)
        resized = Resize(judge.space, arch)(0.5, 1.0)
        if resized is None:
            continue
        judge.space.encode(resized)
        assert [s.depth for s in resized.stages] == [s.depth for s in arch.stages]
        assert all(new.width <= old.width for new, old in zip(resized.stages, arch.stages, strict=True))
        assert resized.stem == arch.stem
