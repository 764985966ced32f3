"""nas bench latency: how far predicted latencies lie off measured ones on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from nas.cli.options import JsonOption, SpaceArgument, examples
from nas.cli.output import as_json, line, table, waiting
from nas.tables import Column


def register(app: typer.Typer) -> None:
    """Add the command of this file to its group."""
    app.command(
        epilog=examples(
            "nas bench latency tiny",
            "nas bench latency metaformer --resolution 64 --networks 40",
            "nas bench latency my_space.yaml --json | jq .corrected_mdape_percent",
        )
    )(latency)


def latency(
    space: SpaceArgument,
    networks: Annotated[
        int, typer.Option("--networks", metavar="N", min=10, max=2000, help="Networks to draw and to measure whole.")
    ] = 30,
    resolution: Annotated[
        int | None,
        typer.Option("--resolution", metavar="PX", help="Side of the images.", show_default="the space's"),
    ] = None,
    threads: Annotated[
        int, typer.Option("--threads", metavar="N", min=1, max=1024, help="CPU threads; with one, times are CPU times.")
    ] = 1,
    seed: Annotated[int, typer.Option("--seed", metavar="S", help="Seed of the drawn networks.")] = 0,
    json: JsonOption = False,
) -> None:
    """Measure drawn networks of a space whole and by their parts, and tell how far predictions are off.

    A prediction is the sum of a network's parts, each distinct part measured once on this machine; corrected, it is
    that sum as whole networks have taught to scale it. The error is the median absolute percentage error on networks
    that took no part in the correction: each fifth is predicted by the other four.
    """
    from nas.latency_bench import bench_latency

    with waiting("measuring ..."):
        found = bench_latency(space, networks, resolution=resolution, threads=threads, seed=seed)
    if json:
        as_json(found.as_json())
        return
    columns = [Column("prediction"), Column("median error", right=True)]
    table(columns, [("sum of parts", f"{found.error.additive:.1f} %"), ("corrected", f"{found.error.corrected:.1f} %")])
    line()
    where = ", ".join(f"{name} {value}" for name, value in found.circumstances.items())
    line(f"{found.error.networks} networks of {found.space} at {found.resolution} px, {found.low:.2f} to "
         f"{found.high:.2f} ms, spread {found.spread:.1%} of the median; {where}")  # fmt: skip
    line(f"{found.parts} distinct parts measured now, {found.known} known in {found.file}")
