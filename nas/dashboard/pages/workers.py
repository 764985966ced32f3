"""Who trains what since when, and why trials came to nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from dash import html

from nas.dashboard.address import link
from nas.dashboard.elements import section, table
from nas.dashboard.pages.study_head import study_head
from nas.dashboard.table import Column, Table
from nas.dashboard.view import Page, Tables, View


def draw(view: View) -> Page:
    """Draw workers and failures of the chosen studies."""
    names = view.studies
    if not names:
        return Page("Workers", [html.H1("Workers"), html.P("This store has no studies yet.", className="empty")])
    drivers = {s.name: s.driver for s in view.queries.studies() if s.name in names and s.driver}
    driven = "; ".join(f"{name} is driven by {driver}" for name, driver in drivers.items()) or "No search is running."
    nobody = "Nobody is training at this moment."
    parts = [
        *study_head(view, names),
        section(
            "In training",
            table(running_table(view), view.address, caption="Trials in training", empty=nobody),
            note=driven,
        ),
        section("Workers", table(workers_table(view), view.address, caption="Workers, the latest at work first")),
        section(
            "Why trials came to nothing",
            table(
                causes_table(view),
                view.address,
                caption="Reasons, the most frequent first",
                empty="Nothing went wrong.",
            ),
            note="Reasons that differ only in numbers are counted together; the first is shown.",
        ),
    ]
    return Page(f"{', '.join(names)} workers", parts)


def running_table(view: View) -> Table:
    """Return the trials in training."""
    columns = [
        Column("trial"),
        Column("worker"),
        Column("for", "s"),
        Column("epochs", "number"),
        Column("attempt", "number"),
    ]
    rows: list[list[Any]] = []
    links: list[str] = []
    now = datetime.now(UTC)
    for name in view.studies:
        for row in view.queries.running(name):
            spent = None if row.started is None else max(0.0, (now - row.started).total_seconds())
            rows.append([f"{name}:{row.number}", row.worker, spent, row.epochs, row.attempt])
            links.append(link("network", name, row.number))
    return Table("running", columns, rows, links)


def workers_table(view: View) -> Table:
    """Return what each worker has done."""
    states = ("running", "complete", "stopped", "failed")
    columns = [Column("worker"), Column("study"), *(Column(state, "number") for state in states)]
    columns += [Column("first seen"), Column("last seen")]
    rows = [
        [
            worker.worker,
            name,
            *(worker.counts.get(state, 0) for state in states),
            _moment(worker.first),
            _moment(worker.last),
        ]
        for name in view.studies
        for worker in view.queries.workers(name)
    ]
    return Table("workers", columns, rows)


def causes_table(view: View) -> Table:
    """Return the reasons why trials came to nothing."""
    columns = [
        Column("reason", long=True),
        Column("study"),
        Column("state"),
        Column("trials", "number"),
        Column("first", "number"),
    ]
    found = [(name, cause) for name in view.studies for cause in view.queries.causes(name)]
    rows = [[cause.reason, name, cause.state, cause.count, cause.first] for name, cause in found]
    return Table("causes", columns, rows, [link("network", name, cause.first) for name, cause in found])


TABLES: Tables = {"running": running_table, "workers": workers_table, "causes": causes_table}


def _moment(value: datetime | None) -> str | None:
    return None if value is None else f"{value.astimezone():%Y-%m-%d %H:%M:%S}"
