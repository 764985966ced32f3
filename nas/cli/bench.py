"""nas bench: operators, models, samplers and rung rules compared, and predicted latency; a file each command."""

from __future__ import annotations

import typer

from nas.cli import bench_fidelity, bench_latency, bench_models, bench_ops, bench_search
from nas.cli.options import examples

app = typer.Typer(
    short_help="Time our operators and models, compare samplers.",
    rich_markup_mode=None,
    help="Time our operators and models on this machine against others, compare samplers on tables of trained "
    "networks and rung rules on recorded learning curves, tell how far predicted latencies are off.",
    epilog=examples(
        "nas bench ops --op selective_scan",
        "nas bench models convnext_atto",
        "nas bench search --table nas_bench_201.npz --seeds 20",
        "nas bench fidelity --curves benchmarks/curves/digits.json.gz",
        "nas bench latency tiny",
    ),
)

bench_ops.register(app)
bench_models.register(app)
bench_search.register(app)
bench_fidelity.register(app)
bench_latency.register(app)


@app.callback(invoke_without_command=True)
def _root(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
