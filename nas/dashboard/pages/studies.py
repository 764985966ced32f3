"""All studies of the store: how far each one is, and how well it does."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from dash import dcc, html

from nas.dashboard.address import link
from nas.dashboard.elements import notice, progress, section, table, tiles
from nas.dashboard.frames import Frame
from nas.dashboard.fronts import front_of
from nas.dashboard.queries import Queries
from nas.dashboard.sparkline import sparkline
from nas.dashboard.table import Column, Table
from nas.dashboard.view import Page, Tables, View
from nas.front_growth import growth
from nas.front_table import unit_of
from nas.pareto import Direction
from nas.quantities import duration, measured
from space.errors import NasError
from trials.rows import StudySummary


def draw(view: View) -> Page:
    """Draw the list of studies."""
    summaries = view.queries.studies()
    if not summaries:
        start = html.Code("nas search --space metaformer --budget 20")
        words = ["This store has no studies yet. Start one with ", start, "; it appears here by itself."]
        return Page("Studies", [html.H1("Studies"), html.P(words, className="empty")])
    whole = studies_table(view)
    shown = 25
    start = int(view.address.number("page") or 0) * shown
    cells: list[Sequence[Any]] = [()] * start
    cells += [_cells(view.queries, summary) for summary in summaries[start : start + shown]]
    trials = sum(summary.trials for summary in summaries)
    running = sum(summary.driver is not None for summary in summaries)
    parts: list[Any] = [
        html.H1("Studies"),
        tiles([(f"{len(summaries):,}", "studies"), (f"{running:,}", "running"), (f"{trials:,}", "trials")]),
        table(whole, view.address, caption="Studies, the newest first", cells=cells),
    ]
    if len(summaries) > 1:
        over = [
            html.Li(dcc.Link(s.name, href=link("front", study=[s.name, summaries[0].name]))) for s in summaries[1:6]
        ]
        parts.append(section("Compare studies", html.Ul(over), note=f"Draw over {summaries[0].name}:"))
    return Page("Studies", parts)


def studies_table(view: View) -> Table:
    """Return all studies, one a row."""
    columns = [
        Column("study"),
        Column("state"),
        Column("trained", "number"),
        Column("budget", "number"),
        Column("failed", "number"),
        Column("rejected", "number"),
        Column("remaining", "s"),
        Column("best", long=True),
        Column("front growth"),
        Column("created"),
    ]
    summaries = view.queries.studies()
    rows = [
        [
            summary.name,
            state_of(summary),
            trained_of(summary),
            summary.budget,
            summary.counts["failed"],
            summary.counts["duplicate"] + summary.counts["infeasible"],
            remaining(summary),
            "",
            "",
            f"{summary.created.astimezone():%Y-%m-%d %H:%M}",
        ]
        for summary in summaries
    ]
    return Table("studies", columns, rows, [link("front", study=summary.name) for summary in summaries])


TABLES: Tables = {"studies": studies_table}


def trained_of(summary: StudySummary) -> int:
    """Return the trials that count against the budget."""
    return summary.trained


def state_of(summary: StudySummary) -> str:
    """Say whether a study is running, done or stopped."""
    if summary.driver is not None:
        return "running"
    return "done" if summary.budget is not None and trained_of(summary) >= summary.budget else "stopped"


def remaining(summary: StudySummary) -> float | None:
    """Return the seconds a running study will still take at its pace so far; None where there is no pace."""
    done = trained_of(summary) + summary.waiting
    if summary.driver is None or not summary.budget or not done or summary.started is None:
        return None
    spent = (datetime.now(UTC) - summary.started).total_seconds()
    return max(0.0, spent / done * (summary.budget - done))


def best_words(frame: Frame, shown: Any) -> str:
    """Return the best value of each objective among the complete trials."""
    parts: list[str] = []
    for objective in frame.objectives:
        values = frame.values(objective.metric)[frame.state("complete") & shown]
        values = values[np.isfinite(values)]
        if len(values):
            best = values.max() if objective.better == "max" else values.min()
            parts.append(f"{objective.metric} {measured(float(best), unit_of(objective.metric))}")
    return ", ".join(parts) or "-"


def _cells(queries: Queries, summary: StudySummary) -> list[Any]:
    done, left = trained_of(summary), remaining(summary)
    bar: Any = progress(done, summary.budget or 0, f"{summary.name}: {done} of {summary.budget}")
    state: Any = html.Span(state_of(summary), className=f"state {state_of(summary)}")
    cells: list[Any] = [None, state, html.Span([str(done), bar]) if summary.budget else str(done), None, None, None]
    try:
        frame = queries.frame(summary.name)
        shown = queries.shown(summary.name)
        best = queries.kept(("best", summary.name), lambda: best_words(frame, shown))
        line = queries.soon(("glance", summary.name), len(frame), lambda: _glance(frame, shown))
    except NasError as error:
        return [*cells, None, notice(str(error)), "", None]
    return [*cells, "-" if left is None else duration(left), best, "-" if line is None else line, None]


def _glance(frame: Frame, shown: Any) -> Any:
    columns = [frame.values(objective.metric) for objective in frame.objectives]
    ways: list[Direction] = [objective.better for objective in frame.objectives]
    among = frame.state("complete") & shown
    numbers, volumes = growth(columns, ways, among, most=40)
    if not numbers:
        return "-"
    size = len(front_of(columns, ways, among))
    words = f"front of {size} after {len(frame)} trials; last grew at trial {numbers[-2]}"
    return sparkline(numbers, volumes, words)
