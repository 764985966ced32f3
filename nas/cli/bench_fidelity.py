"""nas bench fidelity: replay searches with rung rules on recorded learning curves and compare them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli import output
from nas.cli.bench_search import Repeating
from nas.cli.options import JsonOption, examples

if TYPE_CHECKING:
    from nas.bench.rung_judge import Equal, Row
    from nas.bench.rung_replay import Trainings

CurvesOption = Annotated[
    list[Path],
    typer.Option(
        "--curves", metavar="FILE ...", help="Recorded trainings, files of benchmarks/record_curves.py; repeatable."
    ),
]
RuleOption = Annotated[
    list[str] | None,
    typer.Option("--rule", metavar="NAME ...", help="Rung rules to run; repeatable.", show_default="all"),
]
ReductionOption = Annotated[
    list[int] | None,
    typer.Option(
        "--reduction",
        metavar="N ...",
        min=2,
        help="One of N trials goes on from each rung; repeatable.",
        show_default="3",
    ),
]
BudgetOption = Annotated[
    list[int] | None,
    typer.Option(
        "--budget",
        metavar="N ...",
        min=1,
        help="What N trainings to the end take: their CPU seconds, or see --equal; repeatable.",
        show_default="25 50 100, as far as the points last",
    ),
]
EqualOption = Annotated[
    str,
    typer.Option(
        "--equal",
        metavar="seconds|trials",
        help="What is the same for all rules: CPU seconds of training, or trials begun, as a search's --budget counts.",
    ),
]
BUDGETS = (25, 50, 100)
SeedsOption = Annotated[int, typer.Option("--seeds", metavar="N", min=1, help="Searches with each rule.")]
EpochsOption = Annotated[
    int | None,
    typer.Option(
        "--epochs",
        metavar="N",
        min=1,
        help="Take the trainings as ones of N epochs, each of several recorded; a divisor of their number.",
        show_default="as recorded",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command of this file to its group."""
    app.command(
        cls=Repeating,
        epilog=examples(
            "nas bench fidelity --curves benchmarks/curves/digits.json.gz",
            "nas bench fidelity --curves a.json.gz b.json.gz --rule none pareto_halving --reduction 2 3 4 --json",
        ),
    )(fidelity)


def fidelity(
    curves: CurvesOption,
    rule: RuleOption = None,
    reduction: ReductionOption = None,
    budget: BudgetOption = None,
    equal: EqualOption = "seconds",
    seeds: SeedsOption = 50,
    epochs: EpochsOption = None,
    json: JsonOption = False,
) -> None:
    """Replay searches on recorded learning curves: whether it pays to stop trainings early, and by which rule.

    Points come in random order, the same for all rules with a seed, to four workers on simulated time. All rules may
    spend the CPU seconds that the first N trainings of that order take to their end, or begin just these (--equal).
    Hypervolume is that of final accuracy and the logarithm of MACs, of the trainings that ended, as a share of the
    whole file's, above its median accuracy. Gain is the difference to the rule none, its limits those of 95 % over
    orders of the same points. Regret is in points of accuracy below the file's best. A second table tells how well
    each rung's readings rank the ends.
    """
    from nas.bench.curves import Curves
    from nas.bench.rung_judge import NONE, judge
    from nas.bench.rung_replay import Trainings
    from nas.rungs import DEFAULT, rung_rule, rung_rule_names

    names = list(dict.fromkeys(rule or rung_rule_names()))
    for name in names:
        rung_rule(name)
    factors = list(dict.fromkeys(reduction or [3]))
    rules = [(name, factor) for name in names for factor in (factors if name != NONE else factors[:1])]
    files = [Trainings.of(_name(file), Curves.load(file), epochs) for file in curves]
    budgets = _budgets(budget, files)
    rows: list[Row] = []
    with output.counted(len(files) * len(rules) * seeds, "searches") as tick:
        rows += judge(files, rules, budgets, seeds, default=DEFAULT, equal=_equal(equal), tick=tick)
    if json:
        output.as_json([row.as_dict() for row in rows])
    else:
        _show(rows)
        _show_readings(rows, files)


def _name(file: Path) -> str:
    return file.name.removesuffix(".json.gz")


def _equal(text: str) -> Equal:
    from space import NasError

    if text == "seconds" or text == "trials":
        return text
    raise NasError(f"--equal: {text!r}, allowed: seconds, trials")


def _budgets(asked: list[int] | None, files: list[Trainings]) -> list[int]:
    """Return the budgets, rising. Raises NasError where a file has fewer points."""
    from space import NasError

    least = min(files, key=lambda each: len(each.macs))
    points = len(least.macs)
    if asked and max(asked) > points:
        raise NasError(f"--budget: {max(asked)}, allowed: up to {points}, the points of {least.name}")
    return sorted(set(asked or [each for each in BUDGETS if each <= points] or [points]))


def _show(rows: list[Row]) -> None:
    from nas.bench.rung_judge import NONE
    from nas.tables import Column

    def signed(value: float | None) -> str:
        return "-" if value is None else f"{value:+.3f}"

    heads = ("reduction", "budget", "CPU s", "begun", "finished", "by MACs", "hypervolume", "gain", "from", "to",
             "regret")  # fmt: skip
    output.table(
        [Column("curves"), Column("rule"), *(Column(head, right=True) for head in heads)],
        [
            (
                row.curves, row.rule, "-" if row.rule == NONE else row.reduction, row.budget, f"{row.seconds:.0f}",
                f"{row.trials_begun:.0f}{' (all)' if row.exhausted > 0 else ''}", f"{row.trials_finished:.0f}",
                " ".join(f"{each:.0f}" for each in row.finished_by_band), f"{row.hypervolume_mean:.3f}",
                signed(row.hypervolume_gain), signed(row.hypervolume_gain_low), signed(row.hypervolume_gain_high),
                f"{row.regret_mean:.2f}",
            )
            for row in rows
        ],
    )  # fmt: skip
    if any(row.exhausted > 0 for row in rows):
        output.line("(all): in some of these searches no points were left to begin, and seconds were left over")


def _show_readings(rows: list[Row], files: list[Trainings]) -> None:
    from nas.bench.rung_readings import noise
    from nas.tables import Column

    output.line()
    output.line("rank correlation (Spearman) of accuracies at a rung with the final ones")
    found = {(row.curves, each.epoch): each for row in rows for each in row.rungs}
    heads = ("epochs", "share of CPU s", "networks", "correlation", "95 %")
    columns = [Column("curves"), Column("MACs"), *(Column(head, right=True) for head in heads)]
    lines: list[tuple[object, ...]] = []
    for (curves, epoch), each in sorted(found.items()):
        for one in each.agreements:
            rho = one.spearman
            lines.append((curves, one.macs, f"{epoch} of {each.epochs}", f"{each.cost:.2f}", one.networks,
                          f"{rho.value:.2f}", f"{rho.low:.2f} to {rho.high:.2f}"))  # fmt: skip
    output.table(columns, lines)
    for each in files:
        if (again := noise(each)) is not None:
            rho = again.spearman
            output.line(
                f"{each.name}: {again.networks} networks trained again with another seed: correlation of the ends "
                f"{rho.value:.2f} ({rho.low:.2f} to {rho.high:.2f}), deviation of one {again.deviation:.1f} points"
            )
