"""The report on all kernels is true, complete and within limits; `python benchmarks/kernel_report.py` rewrites it."""

from pathlib import Path

import pytest
import torch
import triton

from ops.kernel import discovered, movements
from ops.proof import interpreted
from ops.proof.ahead_of_time import TARGETS, Resources
from ops.proof.report import Row, faults, made, made_all, read, wanted, worse, written

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "benchmarks" / "kernel_report.md"
OPERATORS = sorted({path.parent.name for path in ROOT.glob("ops/*/kernel*.py")})


def _rows(operator):
    return {key: row for key, row in read(TABLE).items() if key[0] == operator}


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_configuration_is_reported_and_within_its_limits(operator):
    names = [each.name for each in discovered()[operator]]
    assert len(set(names)) == len(names)
    rows = _rows(operator)
    needed = {key: digest for key, digest in wanted().items() if key[0] == operator}
    assert set(rows) == set(needed)
    stale = [key for key, digest in needed.items() if rows[key].digest != digest]
    complaints = []
    for row in made_all(stale, 1):
        complaints += worse(row, rows[row[:3]])
        rows[row[:3]] = row
    complaints += [fault for row in rows.values() for fault in faults(row)]
    assert complaints == []
    told = f"Triton {triton.__version__}."
    assert not stale or told not in TABLE.read_text(encoding="utf-8"), "run benchmarks/kernel_report.py"


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("operator", OPERATORS)
def test_the_row_with_most_registers_is_what_the_compiler_says(operator, target):
    told = max(
        (row for row in _rows(operator).values() if row.target == target), key=lambda row: row.resources.registers
    )
    assert made(*told[:3]) == told


@pytest.mark.parametrize("operator", OPERATORS)
def test_kernels_move_hardly_more_bytes_than_they_must(operator):
    assert movements()[operator]
    for movement in movements()[operator]:
        torch.manual_seed(0)
        with interpreted() as run:
            least = movement.run(run.guarded)
        found = run.traffic.of()
        assert getattr(found, movement.counted) <= movement.most * least, (movement.name, found.over(least))
        assert found.compulsory >= least, movement.name


def _row(**told):
    fine = {
        "registers": 100, "spill_bytes": 0, "shared_bytes": 8, "occupancy": 50, "products": 70, "matrix": 0,
        "moved": {128: 20}, "loads": 10, "instructions": 1000,
    }  # fmt: skip
    return Row("op", "forward", "sm_80", Resources(**fine | told), "abc")


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({}, []),
        ({"registers": 99, "instructions": 2000}, []),
        ({"registers": 101}, ["registers 101, was 100"]),
        ({"spill_bytes": 4, "shared_bytes": 9}, ["spill_bytes 4, was 0", "shared_bytes 9, was 8"]),
        ({"moved": {64: 40}}, ["0% of bytes in 128 bits, was 100%"]),
    ],
)
def test_what_has_become_worse_is_named(told, words):
    assert worse(_row(**told), _row()) == [f"op, forward, sm_80: {each}" for each in words]


def test_what_is_written_is_read_again(tmp_path):
    rows = [_row(), _row(moved={128: 3, 32: 1}, matrix=2)._replace(target="gfx942")]
    (tmp_path / "report.md").write_text(written(rows, {}))
    assert list(read(tmp_path / "report.md").values()) == rows
    assert read(tmp_path / "none.md") == {}
