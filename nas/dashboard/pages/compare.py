"""Two to six networks side by side, what differs marked."""

from __future__ import annotations

from typing import Any

from dash import dcc, html

from nas.dashboard.address import link
from nas.dashboard.elements import figure, section, table
from nas.dashboard.selection import picked
from nas.dashboard.table import Column, Table
from nas.dashboard.view import Page, Tables, View
from nas.figures import Curve, architecture_figure, curves_figure
from nas.front import values_of
from nas.front_table import unit_of
from nas.quantities import measured
from space.errors import NasError, SpaceError
from trials.rows import TrialRow

MOST = 6


def draw(view: View) -> Page:
    """Draw the comparison."""
    rows = _rows(view)
    if len(rows) < 2:
        words = "Choose two to six networks: tick 'compare' beside them in the table of a front."
        return Page("Compare", [html.H1("Compare"), html.P(words, className="empty"), _links(view, rows)])
    whole = compare_table(view)
    cells = [_marked(row) for row in whole.rows]
    title = " and ".join(rows)
    return Page(
        f"Compare {title}",
        [
            html.H1("Compare"),
            _links(view, rows),
            _drawings(view, rows),
            section(
                "Side by side",
                table(
                    whole, view.address, caption="Numbers and fields; \u2260 marks what differs", rows=200, cells=cells
                ),
            ),
            _curves(view, rows),
        ],
    )


def _rows(view: View) -> dict[str, tuple[str, TrialRow]]:
    names = view.address.all("trial")
    if len(names) > MOST:
        raise NasError(f"compare: {len(names)} networks, allowed: 2 to {MOST}")
    found: dict[str, tuple[str, TrialRow]] = {}
    for name in names:
        reference = picked(name)
        if reference is not None:
            study, number = reference
            found[name] = (study, view.queries.store.trial(view.queries.frame(study).row.id, number))
    return found


def compare_table(view: View) -> Table:
    """Return numbers and fields, one a row, the networks as columns."""
    from nas.anatomy import places
    from space import Architecture

    rows = _rows(view)
    numbers = {name: values_of(row) for name, (_, row) in rows.items()}
    fields = {name: places(Architecture.model_validate_json(row.arch_json)) for name, (_, row) in rows.items()}
    table_rows: list[list[Any]] = [["state", *(row.state for _, row in rows.values())]]
    metrics = dict.fromkeys(key for values in numbers.values() for key in values)
    table_rows += [[m, *(measured(values.get(m), unit_of(m)) for values in numbers.values())] for m in metrics]
    every = dict.fromkeys(key for values in fields.values() for key in values)
    table_rows += [[place, *(values.get(place, "-") for values in fields.values())] for place in every]
    columns = [Column("field", long=True), *(Column(name, long=True) for name in rows)]
    return Table("compare", columns, table_rows)


TABLES: Tables = {"compare": compare_table}


def _marked(row: Any) -> list[Any]:
    if len(set(row[1:])) == 1:
        return []
    return [html.Span(f"\u2260 {row[0]}"), *(html.Mark(str(value)) for value in row[1:])]


def _links(view: View, rows: dict[str, tuple[str, TrialRow]]) -> html.Ul:
    items: list[Any] = []
    for name, (study, row) in rows.items():
        kept = [other for other in rows if other != name]
        without = dcc.Link("remove", href=link("compare", trial=kept), title=f"remove {name}")
        items.append(html.Li([dcc.Link(name, href=link("network", study, row.number)), " (", without, ")"]))
    if rows:
        study = next(iter(rows.values()))[0]
        more = dcc.Link("choose others", href=link("front", study=study, trial=list(rows)))
        items.append(html.Li(more))
    return html.Ul(items, className="chosen")


def _drawings(view: View, rows: dict[str, tuple[str, TrialRow]]) -> html.Section:
    from nas.anatomy import drawing
    from space import Architecture

    drawn: list[Any] = []
    parts: list[Any] = []
    for name, (study, row) in rows.items():
        arch = Architecture.model_validate_json(row.arch_json)
        try:
            drawn.append(drawing(arch, name, view.queries.frame(study).resolution))
        except SpaceError as error:
            parts.append(html.P(f"{name} is not drawn: {error}", className="notice"))
    for each in drawn:
        picture = architecture_figure(each, drawn, height=270)
        parts.append(
            html.Div(
                [html.H3(each.name), figure(f"drawn-{each.name}", picture, f"architecture of {each.name}", view.look)]
            )
        )
    return section("Architectures", html.Div(parts, className="columns"), note="To one scale.")


def _curves(view: View, rows: dict[str, tuple[str, TrialRow]]) -> Any:
    from nas.figures.style import STUDIES

    curves: list[tuple[str, Curve]] = []
    for name, (_, row) in rows.items():
        epochs = view.queries.store.epochs_of(row.id)
        metric = [epoch for epoch in epochs if "accuracy" in epoch.metrics]
        if metric:
            values = [epoch.metrics["accuracy"] for epoch in metric]
            curves.append((name, Curve(row.number, [epoch.epoch for epoch in metric], values, on_front=True)))
    if not curves:
        return None
    from html import escape

    drawn = curves_figure([curve for _, curve in curves], "accuracy")
    drawn.update_layout(height=320, template="none", uirevision="curves")
    traces: Any = drawn.data
    for index, (trace, (name, _)) in enumerate(zip(traces, curves, strict=True)):
        colour = STUDIES[index % len(STUDIES)]
        trace.update(
            name=escape(name),
            showlegend=True,
            legendgroup=name,
            line={"color": colour, "dash": ("solid", "dash", "dot", "dashdot", "longdash", "solid")[index]},
            marker={"color": colour, "size": 6, "symbol": ("circle", "square", "diamond", "cross", "x", "star")[index]},
        )
    return section("Learning curves", figure("curves", drawn, "accuracy by epoch of the networks", view.look))
