"""Latency by parts: the parts make up the network, each is measured once, and the file belongs to one machine."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch

from space import Architecture, DesignSpace, build, named
from space.build import parameters
from trials.block_latency import BlockTable, parts

TINY = DesignSpace.load("tiny")


def points(count: int) -> list[Architecture]:
    rng = random.Random(3)
    return [TINY.sample(rng) for _ in range(count)]


@pytest.mark.parametrize("arch", [*points(2), named("unireplknet_a").arch], ids=lambda arch: arch.id)
def test_parts_make_up_the_deployed_network(arch: Architecture) -> None:
    side = 64
    with torch.no_grad():
        whole = build(arch.fitted(side)).reparameterize()
        found = list(parts(arch, side))
        built = {part.name: part.build().eval() for part in found}
        assert sum(parameters(built[part.name]) for part in found) == parameters(whole)
        for part in {part.name: part for part in found}.values():
            assert torch.isfinite(built[part.name](torch.randn(1, *part.shape))).all()


def test_each_distinct_part_is_measured_once_and_kept(tmp_path: Path) -> None:
    arch = points(1)[0]
    deeper = arch.model_copy(update={"stages": tuple(s.model_copy(update={"depth": s.depth * 2}) for s in arch.stages)})
    table = BlockTable(tmp_path / "t.json")
    first = table.latency(arch, 32)
    assert table.measured == len({part.name for part in parts(arch, 32)}) == len(table)
    assert table.latency(arch, 32) == first > 0
    assert table.latency(deeper, 32) > first
    assert table.measured == len(table)
    again = BlockTable(tmp_path / "t.json")
    assert again.latency(arch, 32) == first
    assert again.measured == 0
    written = json.loads((tmp_path / "t.json").read_text())
    assert written["circumstances"]["torch"] == str(torch.__version__)
    assert all(ms > 0 and spread >= 0 for ms, spread in written["parts"].values())


def test_a_table_of_other_circumstances_or_a_damaged_one_is_measured_anew(tmp_path: Path) -> None:
    arch, path = points(1)[0], tmp_path / "t.json"
    BlockTable(path).latency(arch, 32)
    assert len(BlockTable(path)) > 0
    assert len(BlockTable(path, batch=2)) == 0
    assert BlockTable(threads=1).key != BlockTable(threads=2).key
    assert BlockTable(threads=1).path != BlockTable(threads=2).path
    path.write_text(path.read_text()[:-5])
    assert len(BlockTable(path)) == 0


def test_tables_of_two_processes_add_up(tmp_path: Path) -> None:
    one, other = points(2)
    a, b = BlockTable(tmp_path / "t.json"), BlockTable(tmp_path / "t.json")
    a.latency(one, 32)
    b.latency(other, 32)
    both = BlockTable(tmp_path / "t.json")
    both.latency(one, 32)
    both.latency(other, 32)
    assert both.measured == 0
