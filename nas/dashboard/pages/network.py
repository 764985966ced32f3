"""One network: drawn, costed, measured, compared with the nearest published one, and ready to take home."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from dash import dcc, html

from nas.dashboard.address import link
from nas.dashboard.components import Annotation, Copy
from nas.dashboard.elements import aria, breakable, facts, figure, section, table, tiles
from nas.dashboard.lineage import ancestors, differing, parents_of
from nas.dashboard.selection import picked
from nas.dashboard.table import Column, Table
from nas.dashboard.view import Page, Tables, View
from nas.figures import Curve, architecture_figure, curves_figure, stages_figure
from nas.front import description_of, values_of
from nas.front_table import unit_of
from nas.quantities import measured
from space.errors import NasError, SpaceError
from trials.rows import Annotation as Note
from trials.rows import TrialRow

if TYPE_CHECKING:
    from space import Architecture


def draw(view: View) -> Page:
    """Draw one trial's network."""
    study, row = _trial(view)
    name = f"{study}:{row.number}"
    arch = _network(row)
    numbers = [(measured(value, unit_of(key)), key) for key, value in values_of(row).items()]
    head = [
        html.P(dcc.Link(f"Front of {study}", href=link("front", study=study, pick=name))),
        html.H1(name),
        html.P(description_of(row), className="description"),
        tiles([(row.state, "state"), *numbers]),
    ]
    if row.reason:
        head.append(html.P(row.reason, className="notice"))
    nearby = [
        dcc.Link(words, href=link("network", study, number))
        for words, number in (("previous trial", row.number - 1), ("next trial", row.number + 1))
        if 0 <= number < len(view.queries.frame(study))
    ]
    parts = [
        *head,
        *_drawn(view, study, row, arch),
        _curves(view, study, row),
        _measured(view),
        _nearest(arch),
        _lineage(view, study, row),
        _home(view, name),
        _note(view, study, row),
        html.Nav(nearby, className="row", **aria("neighbouring trials")),
    ]
    return Page(name, [part for part in parts if part is not None])


def _trial(view: View) -> tuple[str, TrialRow]:
    path = view.address.path
    if len(path) != 3:
        raise NasError("address: expected /network/STUDY/NUMBER")
    reference = picked(f"{path[1]}:{path[2]}")
    if reference is None:
        raise NasError("address: expected /network/STUDY/NUMBER")
    study, number = reference
    frame = view.queries.frame(study)
    row = view.queries.trials(study, [number]).get(number)
    return study, row if row is not None else view.queries.store.trial(frame.row.id, number)


def _network(row: TrialRow) -> Architecture:
    from space import Architecture  # PyTorch comes with it, which the other pages do without

    return Architecture.model_validate_json(row.arch_json)


def _drawn(view: View, study: str, row: TrialRow, arch: Architecture) -> list[Any]:
    from nas.anatomy import drawing, part_costs

    resolution = view.queries.frame(study).resolution
    try:
        drawn, parts = drawing(arch, f"{study}:{row.number}", resolution), part_costs(arch, resolution)
    except SpaceError as error:
        return [section("Architecture", html.P(f"not drawn: {error}", className="notice"))]
    costs = stages_figure(list(parts), [c.params for c in parts.values()], [c.macs for c in parts.values()])
    words = "Width of a box: channels. Height: size of the maps. Depth: blocks. Colour and sign: token mixer."
    return [
        section(
            "Architecture",
            figure("architecture", architecture_figure(drawn), f"architecture: {description_of(row)}", view.look),
            _fields(drawn.stages),
            note=f"{words} Drawn for images of {resolution} px.",
        ),
        section("Cost of each part", figure("stages", costs, "parameters and MACs of each part", view.look)),
    ]


def _fields(stages: Any) -> html.Details:
    parts = [html.Div([html.H3(stage.name), html.Ul([html.Li(text) for text in stage.fields])]) for stage in stages]
    return html.Details([html.Summary("All fields in words"), html.Div(parts, className="columns")])


def _curves(view: View, study: str, row: TrialRow) -> Any:
    epochs = view.queries.kept(("epochs", row.id), lambda: view.queries.store.epochs_of(row.id))
    names = list(dict.fromkeys(name for epoch in epochs for name in epoch.metrics))
    if not names:
        return section("Learning curve", html.P("No epoch is reported yet.", className="empty"))
    figures: list[Any] = []
    for name in sorted(names, key=lambda name: (name not in ("accuracy", "loss"), name))[:4]:
        values = [epoch.metrics.get(name) for epoch in epochs]
        curve = Curve(
            row.number,
            [epoch.epoch for epoch in epochs],
            [value if value is not None and abs(value) < float("inf") else None for value in values],
            on_front=True,
        )
        drawn = curves_figure([curve], name)
        drawn.update_layout(height=240, showlegend=False, uirevision=name, template="none")
        figures.append(figure(f"curve-{name}", drawn, f"{name} by epoch of {study}:{row.number}", view.look))
    return section("Learning curves", html.Div(figures, className="columns"))


def _measurements(view: View) -> Table:
    _, row = _trial(view)
    columns = [Column("metric"), Column("value", "number"), Column("unit"), Column("spread", "number")]
    columns += [Column("taken by"), Column("on"), Column("circumstances", long=True), Column("when")]
    found = view.queries.kept(("measurements", row.id), lambda: view.queries.store.measurements_of(row.id))
    rows: list[list[Any]] = [
        [
            each.metric,
            each.value,
            each.unit,
            each.spread,
            f"{each.evaluator} {each.version}",
            each.device or "-",
            ", ".join(f"{key} {value}" for key, value in each.circumstances.items() if key != "device"),
            f"{each.created:%Y-%m-%d %H:%M} UTC",
        ]
        for each in found
    ]
    counts = {"params": row.params, "macs": row.macs, "activations": row.extra.get("activations")}
    for name, value in counts.items():
        if value is not None:
            rows.append(
                [name, value, "count", None, "formula", "-", "of the full network", f"{row.created:%Y-%m-%d %H:%M} UTC"]
            )
    return Table("measurements", columns, rows)


def _measured(view: View) -> html.Section:
    whole = _measurements(view)
    cells = [
        [breakable(row[0]), measured(row[1], row[2]), None, None if row[3] is None else measured(row[3], row[2])]
        for row in whole.rows
    ]
    shown = table(whole, view.address, caption="All that was measured of this network", cells=cells)
    return section("Measurements", shown)


def _choices(view: View) -> Table:
    _, row = _trial(view)
    columns = [Column("choice", long=True), Column("value")]
    return Table("choices", columns, [[key or "(the macro design)", value] for key, value in row.choices.items()])


TABLES: Tables = {"measurements": _measurements, "choices": _choices}


def _nearest(arch: Architecture) -> Any:
    from nas.anatomy import nearest_model

    name, found = nearest_model(arch)
    if not found:
        return section("Nearest published network", html.P(["This is ", html.B(name), "."]))
    items = [html.Li([f"{d.place}: ", html.B(d.here), f" where {name} has {d.there}"]) for d in found]
    words = f"{name}, from which it differs in {len(found)} place{'s' if len(found) > 1 else ''}."
    return section(
        "Nearest published network", html.P(words), html.Details([html.Summary("The differences"), html.Ul(items)])
    )


def _lineage(view: View, study: str, row: TrialRow) -> html.Section:
    others = [pair for pair in view.queries.store.trials_of(row.arch_id) if pair != (study, row.number)][:20]
    pairs: list[tuple[str, Any]] = [("architecture", html.Code(row.arch_id)), ("proposed by", row.sampler)]
    if row.reused:
        study_of, _, number_of = row.reused.rpartition(":")
        source = dcc.Link(row.reused, href=link("network", study_of, number_of))
        pairs.append(("result of", html.Span([source, ", trained in the same way; not trained again"])))
    if row.origin:
        pairs.append(("started from", row.origin))
    pairs += _ancestry(view, study, row)
    if row.duplicate_of is not None:
        same = dcc.Link(f"{study}:{row.duplicate_of}", href=link("network", study, row.duplicate_of))
        pairs.append(("same network as", same))
    if others:
        links = [
            part
            for name, number in others
            for part in (dcc.Link(f"{name}:{number}", href=link("network", name, number)), " ")
        ]
        pairs.append(("also tried as", html.Span(links)))
    pairs += [("seed", str(row.seed)), ("trained by", row.worker or "-"), ("attempts", str(row.attempt))]
    choices = table(_choices(view), view.address, caption="What the study chose", rows=500)
    return section("Lineage", facts(pairs), html.Details([html.Summary("Choices in the study's space"), choices]))


def _ancestry(view: View, study: str, row: TrialRow) -> list[tuple[str, Any]]:
    """Return what the network was bred from, what was changed, and the line it comes from."""

    def to(number: int) -> dcc.Link:
        return dcc.Link(f"{study}:{number}", href=link("network", study, number))

    parents = parents_of(view.queries, study, row)
    word = "mended from" if row.sampler == "mended" else "crossed from" if len(parents) > 1 else "mutated from"
    found: list[tuple[str, Any]] = []
    for parent in parents:
        lines = differing(row.choices, parent.choices)
        count = f"{len(lines)} choice{'s differ' if len(lines) != 1 else ' differs'}"
        changes = (
            html.Details([html.Summary(count), html.Ul([html.Li(line) for line in lines])]) if lines else "the same"
        )
        found.append((word, html.Span([to(parent.number), " ", changes])))
    line = ancestors(view.queries, study, row)
    if len(line) > 1:
        steps = [part for number in line for part in (" \u2190 ", to(number))]
        found.append(("line", html.Span([f"{study}:{row.number}", *steps])))
    return found


def _home(view: View, name: str) -> html.Section:
    store = view.queries.store.url
    words = [("export", "--to", "my-network"), ("train",)]
    lines = [shlex.join(["nas", word, name, *rest, "--store", store]) for word, *rest in words]
    study, _, number = name.rpartition(":")
    where = f"/network/{quote(study, safe='')}/{number}.yaml"
    return section(
        "Take it home",
        *(Copy(text=line) for line in lines),
        html.P([html.A("Download the network as YAML", href=where, download=""), ", which every command reads."]),
    )


def _note(view: View, study: str, row: TrialRow) -> html.Section:
    note = view.queries.annotations(study).get(row.number, Note())
    if not view.queries.writable:
        return section("Note", html.P(view.queries.notice or "This store is shown read-only.", className="note"))
    tags = ", ".join(note.tags)
    form = Annotation(id="note", study=study, number=row.number, note=note.note, tags=tags, hidden=note.hidden)
    return section("Note", form)
