"""nas studies, nas trials, nas front: read what searches have stored."""

from __future__ import annotations

import csv
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.open import objectives_of, open_store
from nas.cli.options import JsonOption, StoreOption, StudyArgument, examples
from nas.cli.output import as_json, say, table
from nas.quantities import duration, measured
from nas.tables import Column

if TYPE_CHECKING:
    from nas.second_stage import Outcome
    from trials.rows import StudyRow, StudySummary, TrialRow
    from trials.store import Store

StateOption = Annotated[
    str | None,
    typer.Option(
        "--state",
        metavar="STATE",
        help="Only trials in this state: queued, running, complete, stopped, failed, duplicate or infeasible.",
        show_default="all",
    ),
]
CsvOption = Annotated[bool, typer.Option("--csv", help="Print comma-separated values on stdout.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the command line."""
    app.command(
        short_help="List the studies of a store and how far each one is.",
        epilog=examples(
            "nas studies",
            "nas studies --json",
            "nas studies --store postgresql+psycopg://me@host/nas",
        ),
    )(studies)
    app.command(
        short_help="List the trials of a study, with numbers or reasons.",
        epilog=examples(
            "nas trials STUDY",
            "nas trials STUDY --state failed        what went wrong, with reasons",
            "nas trials STUDY --json | jq '.[0]'",
        ),
    )(trials)
    app.command(
        short_help="Show the networks of a study that no other beats.",
        epilog=examples(
            "nas front STUDY",
            "nas front STUDY --json                 {trial, architecture, values, params, macs, description}",
            "nas front STUDY --csv > front.csv",
            "nas front STUDY --json | jq .second    of a search with --then: {study, front, metric, pairs, spearman}",
        ),
    )(front)


def studies(store: StoreOption = None, json: JsonOption = False) -> None:
    """List the studies of a store: how far each one is, and who is running it."""
    with open_store(store) as opened:
        found = opened.studies()
        if json:
            as_json([_study_json(summary) for summary in found])
        elif not found:
            say(f"{opened.url}: no studies yet; start one with: nas search --space metaformer --budget 20")
        else:
            columns = [Column("study"), Column("status"), Column("trained", right=True), Column("failed", right=True)]
            columns += [Column("rejected", right=True), Column("created"), Column("took", right=True)]
            table(columns, [_study_cells(summary) for summary in found])


def trials(
    study: StudyArgument, state: StateOption = None, store: StoreOption = None, json: JsonOption = False
) -> None:
    """List the trials of a study in order: state, numbers, or the reason where there are none."""
    from trials.rows import STATES

    if state is not None and state not in STATES:
        from space.errors import NasError, nearest

        raise NasError(f"--state: {state!r}, allowed: {', '.join(STATES)}{nearest(state, STATES)}")
    with open_store(store) as opened:
        row = opened.study(study)
        found = opened.trials(row.id, state=state)
        objectives = [objective.metric for objective in objectives_of(row)]
    if json:
        as_json([_trial_json(trial) for trial in found])
    elif not found:
        say(f"{study}: no trials" + (f" in state {state!r}" if state else " yet"))
    else:
        from nas.front_table import shown_metrics

        metrics = shown_metrics(objectives)
        columns = [Column("trial", right=True), Column("state"), *(Column(name, right=True) for name in metrics)]
        columns += [Column("epochs", right=True), Column("took", right=True), Column("network or reason", long=True)]
        table(columns, [_trial_cells(trial, metrics) for trial in found])


def front(study: StudyArgument, store: StoreOption = None, json: JsonOption = False, comma: CsvOption = False) -> None:
    """Show the front of a study: the trials that no other trial beats in every objective."""
    from nas.front import front_points
    from nas.front_table import front_cells, front_columns

    with open_store(store) as opened:
        row = opened.study(study)
        objectives = objectives_of(row)
        points = front_points(opened.trials(row.id), objectives)
        second = _second(opened, row)
    metrics = [objective.metric for objective in objectives]
    if json and second is not None:
        as_json({"front": [point.as_json() for point in points], "second": second.as_json()})
    elif json:
        as_json([point.as_json() for point in points])
    elif comma:
        names = list(dict.fromkeys([*metrics, *(name for point in points for name in point.values)]))
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(["trial", "architecture", *names, "description"])
        for point in points:
            numbers = [point.values.get(name, "") for name in names]
            writer.writerow([point.trial, point.architecture, *numbers, point.description])
    elif not points:
        say(f"{study}: no trial is complete yet, so there is no front")
    else:
        table(front_columns(metrics), [front_cells(point, metrics) for point in points])
        if second is not None:
            from nas.cli.watch import show_second

            show_second(second, metrics)


def _second(opened: Store, row: StudyRow) -> Outcome | None:
    """Return what the second stage of a study came to; nothing is loaded for a study that has none."""
    if not row.config.get("then"):
        return None
    from nas.second_stage import read_second

    return read_second(opened, row)


def _status(summary: StudySummary) -> str:
    if summary.driver is not None:
        return "running"
    return "done" if summary.budget is not None and summary.trained >= summary.budget else "stopped"


def _study_json(summary: StudySummary) -> dict[str, Any]:
    def moment(value: Any) -> str | None:
        return None if value is None else value.isoformat()

    return {
        "study": summary.name,
        "status": _status(summary),
        "trained": summary.trained,
        "adopted": summary.adopted,
        "budget": summary.budget,
        "waiting": summary.waiting,
        "counts": dict(summary.counts),
        "created": moment(summary.created),
        "started": moment(summary.started),
        "finished": moment(summary.finished),
        "driver": summary.driver,
    }


def _study_cells(summary: StudySummary) -> list[str]:
    span = None
    if summary.started is not None and summary.finished is not None:
        span = (summary.finished - summary.started).total_seconds()
    return [
        summary.name,
        _status(summary),
        f"{summary.trained}/{summary.budget if summary.budget is not None else '?'}",
        str(summary.counts["failed"]),
        str(summary.counts["duplicate"] + summary.counts["infeasible"]),
        f"{summary.created.astimezone():%Y-%m-%d %H:%M}",
        "-" if span is None else duration(span),
    ]


def _trial_cells(trial: TrialRow, metrics: list[str]) -> list[str]:
    from nas.front import description_of, values_of
    from nas.front_table import unit_of

    values, seconds = values_of(trial), trial.seconds
    words = trial.reason or description_of(trial)
    if trial.reused:
        words = f"result of {trial.reused}; {words}"
    return [
        str(trial.number),
        trial.state,
        *(measured(values.get(name), unit_of(name)) for name in metrics),
        str(trial.epochs),
        "-" if seconds is None else duration(seconds),
        words,
    ]


def _trial_json(trial: TrialRow) -> dict[str, Any]:
    from nas.front import values_of

    return {
        "trial": trial.number,
        "state": trial.state,
        "reason": trial.reason,
        "architecture": trial.arch_id,
        "values": values_of(trial),
        "params": trial.params,
        "macs": trial.macs,
        "epochs": trial.epochs,
        "rungs": [{key: rung[key] for key in ("epoch", "values", "seconds")} for rung in trial.rungs],
        "attempt": trial.attempt,
        "sampler": trial.sampler,
        "origin": trial.origin,
        "reused": trial.reused,
        "seed": trial.seed,
        "duplicate_of": trial.duplicate_of,
        "worker": trial.worker,
        "seconds": trial.seconds,
        "choices": trial.choices,
    }
