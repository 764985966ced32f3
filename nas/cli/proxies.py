"""nas proxies: the zero-cost proxies there are, and how far each can be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli import output
from nas.cli.bench_search import Repeating
from nas.cli.open import open_store
from nas.cli.options import JsonOption, StoreOption, examples

if TYPE_CHECKING:
    from nas.proxy_ranking import RankRow
    from nas.proxy_scores import Population
    from nas.rank_correlation import Interval

CurvesOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--curves",
        metavar="FILE ...",
        help="Recorded trainings, files of benchmarks/record_curves.py; repeatable.",
        show_default="none",
    ),
]
StudyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--study",
        metavar="NAME ...",
        help="Studies of the store, their complete trials; repeatable.",
        show_default="none",
    ),
]
ProxyOption = Annotated[
    list[str] | None,
    typer.Option("--proxy", metavar="NAME ...", help="Proxies to judge; repeatable.", show_default="all"),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        "--data", metavar="DATA", help="Where the images are, if not where they were.", show_default="as recorded"
    ),
]
BandsOption = Annotated[
    int,
    typer.Option(
        "--bands", metavar="N", min=1, max=10, help="Bands of MACs to look into, of equally many networks; 1: none."
    ),
]
FigureOption = Annotated[
    Path | None,
    typer.Option(
        "--figure",
        metavar="FILE",
        help="Also draw the correlations: .html, or .svg and .png with the extra 'figures'.",
        show_default="none",
    ),
]

app = typer.Typer(
    short_help="Zero-cost proxies: list them, see which deserve trust.",
    rich_markup_mode=None,
    help="Zero-cost proxies score an untrained network in milliseconds: list them, see which deserve trust.",
    epilog=examples("nas proxies list", "nas proxies rank --study STUDY"),
)


@app.callback(invoke_without_command=True)
def _root(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command(
    "list",
    short_help="List the proxies, their metrics and papers.",
    epilog=examples("nas proxies list", "nas proxies list --json"),
)
def list_(json: JsonOption = False) -> None:
    """List the proxies with their metrics and papers; a metric can be an objective of a search."""
    from nas.tables import Column
    from trials.zero_cost import proxies

    found = list(proxies().items())
    if json:
        output.as_json(
            [
                {
                    "proxy": kind, "version": member.version, "metrics": list(member.metrics), "paper": member.paper,
                    "computes": " ".join((member.__doc__ or "").split()),
                }
                for kind, member in found
            ]
        )  # fmt: skip
        return
    columns = [Column("proxy"), Column("version", right=True), Column("metrics"), Column("paper", long=True)]
    output.table(columns, [(kind, m.version, ", ".join(m.metrics), m.paper) for kind, m in found])


@app.command(
    cls=Repeating,
    short_help="Judge proxies by networks that were trained.",
    epilog=examples(
        "nas proxies rank --study STUDY",
        "nas proxies rank --curves benchmarks/curves/digits.json.gz --figure proxies.html",
        "nas proxies rank --curves curves.json.gz --proxy naswot zico macs --bands 4 --json",
    ),
)
def rank(
    curves: CurvesOption = None,
    study: StudyOption = None,
    store: StoreOption = None,
    proxy: ProxyOption = None,
    data: DataOption = None,
    bands: BandsOption = 3,
    figure: FigureOption = None,
    json: JsonOption = False,
) -> None:
    """Judge proxies by networks that were trained: rank correlation with accuracy, overall and per band of MACs.

    Every network is scored as it was trained, with the weights its training began with. Intervals are those of 95 %
    over 1,000 resamples. A proxy that does not beat params and macs, in a band above all, tells nothing that the size
    of a network does not. Times are CPU milliseconds a network on one thread.
    """
    from nas.figure_files import check_figure_file, write_figure
    from nas.proxy_ranking import rank_rows
    from nas.proxy_scores import proxy_names, score_population
    from trials.zero_cost import proxy as named

    names = list(dict.fromkeys(proxy or proxy_names()))
    for name in names:
        named(name)
    if figure is not None:
        check_figure_file(figure)
    populations = _populations(curves or [], study or [], store, data)
    if figure is not None and len(populations) > 1:
        from space import NasError

        raise NasError(f"--figure: shows one source, {len(populations)} were given")
    rows: list[RankRow] = []
    with output.counted(len(names) * sum(len(each.jobs) for each in populations), "scores") as tick:
        for each in populations:
            scored = score_population(each, names, lambda: tick(1))
            rows += rank_rows(each, scored, bands)
            for one in scored:
                for index, reason in list(one.failures.items())[:1]:
                    output.say(
                        f"{one.kind}: no score for {len(one.failures)} networks, as for number {index}: {reason}"
                    )
    if figure is not None:
        from nas.figures import proxies_figure

        write_figure(proxies_figure(rows), figure)
        output.say(f"{figure}: written")
    if json:
        output.as_json([row.as_dict() for row in rows])
    else:
        _show(rows)


def _populations(curves: list[Path], studies: list[str], store: str | None, data: str | None) -> list[Population]:
    from nas.proxy_scores import recorded, studied
    from space import NasError

    if not curves and not studies:
        raise NasError("nothing to judge by: give --curves FILE or --study NAME")
    found = [recorded(file, data) for file in curves]
    if studies:
        with open_store(store) as opened:
            found += [studied(opened, name, data) for name in studies]
    return found


def _show(rows: list[RankRow]) -> None:
    from nas.tables import Column

    def interval(figure: Interval) -> tuple[str, str]:
        if figure.value != figure.value:
            return "-", "-"
        return f"{figure.value:.2f}", f"{figure.low:.2f} to {figure.high:.2f}"

    titles = ("networks", "Spearman", "95 %", "Kendall", "95 %", "CPU ms")
    columns = [Column("source"), Column("proxy"), Column("MACs"), *(Column(title, right=True) for title in titles)]
    output.table(
        columns,
        [
            (row.population, row.proxy, row.band, row.networks, *interval(row.spearman), *interval(row.kendall),
             "-" if row.cpu_ms is None else f"{row.cpu_ms:.1f}")
            for row in rows
        ],
    )  # fmt: skip
