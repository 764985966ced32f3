"""nas bench search: run samplers on tabular benchmarks and compare them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from nas.cli import output
from nas.cli.options import JsonOption, examples

if TYPE_CHECKING:
    from nas.bench.judge import Row

TableOption = Annotated[
    list[Path],
    typer.Option(
        "--table", metavar="FILE ...", help="Tables, .npz files with the arrays cards, score and cost_NAME; repeatable."
    ),
]
SamplerOption = Annotated[
    list[str] | None,
    typer.Option(
        "--sampler",
        metavar="NAME ...",
        help="Samplers to run; repeatable.",
        show_default="the one that nas search takes, and random",
    ),
]
BudgetOption = Annotated[
    list[int] | None,
    typer.Option(
        "--budget", metavar="N ...", min=1, help="Trials to report after; repeatable.", show_default="50 100 200"
    ),
]
SeedsOption = Annotated[int, typer.Option("--seeds", metavar="N", min=1, help="Searches with each sampler.")]


class Repeating(TyperCommand):
    """A command whose repeatable options take all values that follow: `--table A B` is `--table A --table B`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat the option before each further value, then parse as usual."""
        names = {name for each in self.params if getattr(each, "multiple", False) for name in each.opts}
        return super().parse_args(ctx, list(_repeated(args, names)))


def _repeated(args: list[str], names: set[str]) -> Iterator[str]:
    current, pending = None, False
    for arg in args:
        if arg.startswith("--"):
            name, _, value = arg.partition("=")
            current, pending = name if name in names else None, name in names and not value
        elif current is not None and not pending:
            yield current
        else:
            pending = False
        yield arg


def register(app: typer.Typer) -> None:
    """Add the command of this file to its group."""
    app.command(
        cls=Repeating,
        epilog=examples(
            "nas bench search --table nas_bench_201.npz --seeds 20",
            "nas bench search --table a.npz b.npz --sampler predictor_guided tpe random --budget 50 100 200 --json",
        ),
    )(search)


def search(
    table: TableOption,
    sampler: SamplerOption = None,
    budget: BudgetOption = None,
    seeds: SeedsOption = 5,
    json: JsonOption = False,
) -> None:
    """Replay searches on tabular benchmarks: regret for the score alone, hypervolume for score and cost.

    Every suggestion is a charged trial and observes one training drawn at random. Regret is in points of noise-free
    score below the table's best, of the best network by observed score. Hypervolume is that of the observed front as a
    share of the true front's. Relative is the mean regret over random search's, where random is among the samplers.
    """
    from nas.bench.judge import judge, work
    from nas.bench.table import Table
    from nas.samplers import sampler as named
    from nas.settings import SearchSettings

    default = str(SearchSettings.model_fields["sampler"].default)
    names = list(dict.fromkeys(sampler or (default, "random")))
    for name in names:
        named(name)
    tables, budgets = [Table.load(file) for file in table], budget or [50, 100, 200]
    rows: list[Row] = []
    with output.counting(work(tables, names, budgets, seeds), "trials") as tick:
        rows += judge(tables, names, budgets, seeds, default=default, tick=tick)
    if json:
        output.as_json([row.as_dict() for row in rows])
    else:
        _show(rows)


def _show(rows: list[Row]) -> None:
    from nas.bench.judge import summaries
    from nas.tables import Column

    def number(value: float | None, digits: int) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    heads = ("budget", "regret", "median", "relative", "hypervolume", "CPU ms")
    columns = [Column("table"), Column("objectives"), Column("sampler"), *(Column(head, right=True) for head in heads)]
    output.table(
        columns,
        [
            (
                row.table, ", ".join(row.objectives), row.sampler, row.budget, number(row.regret_mean, 3),
                number(row.regret_median, 3), number(row.relative, 2), number(row.hypervolume_median, 3),
                number(row.cpu_ms_per_trial, 1),
            )
            for row in rows
        ],
    )  # fmt: skip
    output.line()
    output.line("over all tables, means")
    heads = ("budget", "relative", "hypervolume", "CPU ms")
    output.table(
        [Column("sampler"), *(Column(head, right=True) for head in heads)],
        [
            (each.sampler, each.budget, number(each.relative, 2), number(each.hypervolume, 3),
             number(each.cpu_ms_per_trial, 1))
            for each in summaries(rows)
        ],
    )  # fmt: skip
