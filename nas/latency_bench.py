"""How far predicted latencies lie off measured ones, on drawn networks of a space."""

from __future__ import annotations

import random
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from nas.latency_model import LatencyError, LatencyModel
from space import DesignSpace, NasError, SpaceError
from trials.block_latency import BlockTable
from trials.latency import measure_deployed

REPEATS = 20
DRAWS = 10
"""Draws for each network that is wanted, since some cannot run on small images."""


@dataclass(frozen=True)
class LatencyBench:
    """What was measured, and the error of predictions."""

    space: str
    resolution: int
    error: LatencyError
    low: float
    """Fastest network in ms."""
    high: float
    spread: float
    """Median over the networks of interquartile range by median."""
    parts: int
    known: int
    file: Path
    circumstances: Mapping[str, str | int]

    def as_json(self) -> dict[str, object]:
        """Return it as JSON-able values."""
        found = {**asdict(self), "file": str(self.file), "circumstances": dict(self.circumstances)}
        error = found.pop("error")
        names = {"networks": "networks", "additive": "additive_mdape_percent", "corrected": "corrected_mdape_percent"}
        return {names[name]: value for name, value in error.items()} | found


def bench_latency(
    space: str, networks: int, *, resolution: int | None = None, threads: int = 1, seed: int = 0
) -> LatencyBench:
    """Draw networks, measure them whole and by parts, and predict each by the others.

    Raises:  NasError where the space cannot be read, or too few of its networks can run at the resolution.
    """
    design, rng = DesignSpace.load(space), random.Random(seed)
    side = resolution or design.resolution
    table = BlockTable(threads=threads)
    model = LatencyModel(table, side)
    times: list[float] = []
    spreads: list[float] = []
    seen: set[str] = set()
    for _ in range(DRAWS * networks):
        if len(times) == networks:
            break
        try:
            arch = design.sample(rng).fitted(side)
            if arch.id in seen:
                continue
            shape = (1, arch.in_channels, side, side)
            whole = measure_deployed(arch, shape, threads=threads, repeats=REPEATS, clock="quiet")
            model.tell(arch, whole.value)
        except SpaceError:
            continue
        seen.add(arch.id)
        times.append(whole.value)
        spreads.append((whole.spread or 0.0) / whole.value)
    if len(times) < networks:
        raise NasError(
            f"networks: {networks}, {design.name} gave {len(times)} different ones at {side} px; allowed: less"
        )
    return LatencyBench(
        space=design.name, resolution=side, error=model.error(), low=min(times), high=max(times),
        spread=statistics.median(spreads), parts=table.measured, known=len(table), file=table.path,
        circumstances=table.circumstances,
    )  # fmt: skip
