"""What stands above every page of a study: its name, how far it is, and its other pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dash import dcc, html

from nas.dashboard.address import link
from nas.dashboard.elements import aria, progress
from nas.dashboard.pages.studies import remaining, state_of, trained_of
from nas.dashboard.view import View
from nas.quantities import duration
from trials.rows import StudySummary


def study_head(view: View, names: Sequence[str]) -> list[Any]:
    """Return the head of the pages of these studies."""
    known = {summary.name: summary for summary in view.queries.studies()}
    tabs = [
        dcc.Link(words, href=link(page, study=list(names)), className="here" if view.address.page == page else "")
        for page, words in (("front", "Front"), ("space", "Space"), ("workers", "Workers and failures"))
    ]
    lines = [_line(known[name]) for name in names if name in known]
    return [
        html.H1(" and ".join(names)),
        *lines,
        html.Nav(tabs, className="tabs", **aria("pages of the study")),
    ]


def _line(summary: StudySummary) -> html.Div:
    done, left = trained_of(summary), remaining(summary)
    counts = summary.counts | {"queued": summary.counts["queued"] - summary.waiting, "waiting": summary.waiting}
    budget = f"{summary.budget:,}" if summary.budget else "?"
    words = [f"{summary.name}: {state_of(summary)}, {done:,} of {budget} trained"]
    words += [
        f"{counts[state]:,} {state}"
        for state in ("running", "waiting", "queued", "failed", "infeasible", "duplicate")
        if counts[state]
    ]
    if left is not None:
        words.append(f"about {duration(left)} left")
    bar = progress(done, summary.budget or 0, f"{summary.name}: {done} of {summary.budget}") if summary.budget else None
    return html.Div(
        [html.Span(", ".join(words)), bar] if bar is not None else [", ".join(words)], className="state-line"
    )
