"""The table of all kernels on all targets, and what has become worse since it was written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import torch
import triton

from ops.kernel import Configuration, discovered, movements
from ops.proof.ahead_of_time import TARGETS, Resources, broken, compiled, digest
from ops.proof.interpreter import interpreted
from ops.proof.traffic import Bytes

TITLES = (
    "operator", "configuration", "target", "registers", "spilled", "shared", "occupancy", "products", "matrix",
    "loads", "moved", "instructions", "digest",
)  # fmt: skip
MOVED = ("operator", "pass", "requested", "per program", "compulsory", "allowed")
HEAD = f"""# Kernels without a GPU

Written by `python benchmarks/kernel_report.py`; tests hold kernels to it. Nothing here was timed.
Triton {triton.__version__}.

## Compiled ahead of time

Registers are those of a thread (vector registers on gfx942), spilled and shared are bytes, occupancy is in percent,
products are multiply-adds of float32, matrix are instructions of tensor cores, moved are loads from and stores to
global memory as bits x instructions. All count instructions as the code lists them, each once.
"""
BYTES = """
## Bytes moved

Counted under the interpreter, as multiples of the least that would do: what lanes ask for, sectors of 32 bytes each
once a program, and each once a launch. What is allowed holds for the kind that the operator declares.
"""


class Row(NamedTuple):
    """A configuration on a target; `digest` names source, options and compiler."""

    operator: str
    configuration: str
    target: str
    resources: Resources
    digest: str


def wanted() -> dict[tuple[str, str, str], str]:
    """Return operator, configuration and target of each row that there must be, and its digest."""
    return {
        (operator, each.name, target): digest(each, target)
        for operator, configurations in discovered().items()
        for each in configurations
        for target in TARGETS
    }


def configuration_of(operator: str, name: str) -> Configuration:
    """Return a configuration by its name."""
    return next(each for each in discovered()[operator] if each.name == name)


def made(operator: str, name: str, target: str) -> Row:
    """Compile a configuration for a target."""
    configuration = configuration_of(operator, name)
    return Row(operator, name, target, compiled(configuration, target), digest(configuration, target))


def made_all(keys: Sequence[tuple[str, str, str]], processes: int) -> Iterable[Row]:
    """Compile many, in that many processes."""
    if processes == 1 or len(keys) < 2 * processes:
        yield from (made(*key) for key in keys)
        return
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(made, *zip(*keys, strict=True), chunksize=4)


def faults(row: Row) -> list[str]:
    """Return what a row breaks of its configuration's limits."""
    found = broken(configuration_of(row.operator, row.configuration), row.target, row.resources)
    return [f"{row.operator}, {row.configuration}, {row.target}: {fault}" for fault in found]


def worse(new: Row, old: Row) -> list[str]:
    """Return in what a row is worse than it was."""
    now, before = new.resources, old.resources
    found = [
        f"{field} {getattr(now, field)}, was {getattr(before, field)}"
        for field in ("registers", "spill_bytes", "shared_bytes")
        if getattr(now, field) > getattr(before, field)
    ]
    for bits in (128, 64):
        if now.vector_share(bits) < before.vector_share(bits) - 0.02:
            shares = f"{now.vector_share(bits):.0%} of bytes in {bits} bits, was {before.vector_share(bits):.0%}"
            found.append(shares)
    return [f"{new.operator}, {new.configuration}, {new.target}: {each}" for each in found]


def bytes_moved() -> dict[tuple[str, str], tuple[Bytes, int, float, str]]:
    """Run each declared movement under the interpreter; return its bytes, the least, what is allowed, and which."""
    found: dict[tuple[str, str], tuple[Bytes, int, float, str]] = {}
    for operator, each in movements().items():
        for movement in each:
            torch.manual_seed(0)
            with interpreted() as run:
                least = movement.run(run.guarded)
            found[operator, movement.name] = run.traffic.of(), least, movement.most, movement.counted
    return found


def written(rows: Iterable[Row], traffic: dict[tuple[str, str], tuple[Bytes, int, float, str]]) -> str:
    """Return the report as Markdown."""
    lines = [HEAD, _line(TITLES), _line(["---"] * len(TITLES))]
    for row in sorted(rows, key=lambda row: (row.operator, row.configuration, list(TARGETS).index(row.target))):
        r = row.resources
        widths = " ".join(f"{bits}x{count}" for bits, count in sorted(r.moved.items(), reverse=True))
        lines.append(_line([*row[:3], *r[:6], r.loads, widths, r.instructions, row.digest]))
    lines += [BYTES, _line(MOVED), _line(["---"] * len(MOVED))]
    for (operator, name), (found, least, most, counted) in sorted(traffic.items()):
        ratios = (f"{ratio:.3f}" for ratio in found.over(least))
        lines.append(_line([operator, name, *ratios, f"{counted.replace('_', ' ')} {most:g}"]))
    return "\n".join(lines) + "\n"


def _line(cells: Iterable[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def read(path: Path) -> dict[tuple[str, str, str], Row]:
    """Return the rows of a written report; none where there is no file."""
    rows: dict[tuple[str, str, str], Row] = {}
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        cells = [cell.strip() for cell in text.strip("|").split("|")]
        if len(cells) != len(TITLES) or cells[2] not in TARGETS:
            continue
        operator, name, target, *numbers, loads, widths, instructions, named = cells
        pairs = (each.split("x") for each in widths.split())
        moved = {int(bits): int(count) for bits, count in pairs}
        resources = Resources._make([*map(int, numbers), moved, int(loads), int(instructions)])
        rows[operator, name, target] = Row(operator, name, target, resources, named)
    return rows
