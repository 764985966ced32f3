"""Published FLOPs: what operators without matrix products add by their papers' rules, wherever they stand."""

from __future__ import annotations

from typing import Any

import pytest

from space import Architecture, model_names, named
from space.arch import Block, Stage
from space.counting import cost, published_flops
from space.families import TokenMixer
from space.flop_rule import FlopRule
from space.mixers.deformable import SAMPLING, Deformable
from space.mixers.gated import Gated
from space.mixers.mamba import Mamba
from space.mixers.pool import Pool
from space.mixers.projected import Projected
from space.mixers.selective_scan import SelectiveScan
from space.named import Published, recounted
from space.selective_ssm import SCAN
from space.stems import Patchify

SIZE = (6, 5)
OFF_RULE = {"internimage_huge", "internimage_giant"}


@pytest.mark.parametrize(
    ("mixer", "expected"),
    [
        (Pool(), {}),
        (Deformable(), {SAMPLING: 5 * 30 * 9 * 40}),
        (Deformable(version=4, kernel_size=5, remove_center=True), {SAMPLING: 5 * 30 * 24 * 40}),
        (SelectiveScan(states=16), {SCAN: (9 * 16 + 1) * 30 * 80 * 4}),
        (Mamba(ratio=1, states=2), {SCAN: 19 * 30 * 40}),
        (Projected(inner=Deformable(), ratio=1.5), {SAMPLING: 5 * 30 * 9 * 60}),
        (Gated.model_validate({"context": Mamba(), "gate": {"kind": "silu"}}), {SCAN: 145 * 30 * 80}),
        # the last of its orders has half the width
        (Gated.model_validate({"context": Deformable(project=False), "gate": {"kind": "recursive", "order": 2}}), None),
    ],
    ids=lambda value: value.kind if isinstance(value, TokenMixer) else "",
)
def test_mixers_add_by_their_rule_also_inside_others(mixer: TokenMixer, expected: dict[FlopRule, int] | None) -> None:
    if expected is None:
        assert isinstance(mixer, Gated)
        expected = {SAMPLING: 5 * 30 * 9 * mixer.gate.widths(40)[1]}
        assert mixer.gate.widths(40)[1] == 60
    assert mixer.added_flops(40, SIZE) == expected


def point(*mixers: TokenMixer) -> Architecture:
    pattern = tuple(Block(token_mixer=mixer) for mixer in mixers)
    return Architecture(stem=Patchify(), stages=(Stage(width=32, depth=3, pattern=pattern),))


def test_networks_sum_the_rules_of_all_their_blocks() -> None:
    arch = point(Deformable(), Mamba())
    ruled = published_flops(arch, 32)
    assert ruled is not None
    assert ruled.flops == cost(arch, 32).macs + 2 * 5 * 64 * 9 * 32 + 145 * 64 * 64
    assert ruled.rule == f"MACs + {SAMPLING.adds} + {SCAN.adds}, without {SCAN.left_out}"
    assert ruled.source == f"{SAMPLING.source}, {SCAN.source}"


def test_where_papers_count_macs_there_is_no_other_rule() -> None:
    assert published_flops(point(Pool()), 32) is None
    families = {named(name).family for name in model_names() if published_flops(named(name).arch) is not None}
    assert families == {"InternImage", "FlashInternImage", "VMamba"}


@pytest.mark.parametrize(
    "name", [name for name in model_names() if published_flops(named(name).arch) is not None and name not in OFF_RULE]
)
def test_the_rule_comes_nearer_to_what_is_published_than_macs(name: str) -> None:
    model = named(name)
    for figure in model.published:
        if figure.macs_g is not None:
            ours, macs = recounted(model, figure), cost(model.arch, figure.input).macs / 1e9
            assert ours.deviation == pytest.approx(100 * (ours.flops / 1e9 - figure.macs_g) / figure.macs_g)
            half = 0.5 if figure.macs_g == int(figure.macs_g) else 0.05
            assert abs(ours.flops / 1e9 - figure.macs_g) <= max(half, abs(macs - figure.macs_g))


def test_figures_are_recounted_in_their_form_with_their_head_and_zeros() -> None:
    merged = named("unireplknet_t")
    assert recounted(merged, merged.published[0])[:2] == cost(merged.arch.merged(), merged.resolution)[:2]
    other: Any = {"params_m": 1.0, "macs_g": None, "top1": None, "input": 64, "pretrain": "", "source": ""}
    sparse = recounted(named("convnext_atto"), Published(**other, classes=10, sparsity=0.5))
    arch = named("convnext_atto").arch.model_copy(update={"classes": 10})
    assert sparse.flops == cost(arch, 64).macs / 2
    assert cost(arch).params / 2 < sparse.params < cost(arch).params * 0.52
    assert sparse.deviation is None
