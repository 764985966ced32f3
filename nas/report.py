"""The report of a study: one HTML file that needs nothing else, neither network nor this program."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go

from nas.anatomy import drawing as drawing_of
from nas.figures import (
    DARK,
    ArchitectureDrawing,
    architecture_figure,
    as_json,
    curves_figure,
    front_figure,
    history_figure,
    hypervolume_figure,
)
from nas.files import write_file
from nas.front_growth import growth
from nas.front_table import shown_metrics, unit_of
from nas.objective import Objective
from nas.quantities import duration, measured
from nas.report_page import PAGE, figure_block, table_block
from nas.rung_counts import rungs_of
from nas.study_data import StudyData
from space import Architecture, DesignSpace, SpaceError
from trials.rows import TRAINED

_MOST_MARKS = 60
_MOST_CAUSES = 12
_MOST_DRAWINGS = 6


def write_report(data: StudyData, out: Path) -> int:
    """Write the report of a study to `out`, whole or not at all, and return its size in bytes.

    Raises:  NasError naming the file where it cannot be written.
    """
    page = render(data).encode("utf-8")

    def write(file: Path) -> None:
        file.write_bytes(page)

    write_file(out, write)
    return len(page)


def render(data: StudyData) -> str:
    """Return the report of a study as HTML; every stored string in it is escaped."""
    from plotly.offline import get_plotlyjs

    figures: list[str] = []
    blocks = [*_front_blocks(data, figures), _front_table(data), _second_block(data), _rungs_block(data)]
    blocks += [_curves_block(data, figures)]
    blocks += [*_drawing_blocks(data, figures), _growth_block(data, figures), _causes_block(data)]
    return PAGE.substitute(
        title=escape(f"{data.row.name} - nas report"),
        name=escape(data.row.name),
        lead=escape(_lead(data)),
        tiles=_tiles(data),
        blocks="\n".join(block for block in blocks if block),
        about=_about(data),
        plotly=get_plotlyjs(),
        figures=f"[{','.join(figures)}]",
        dark=json.dumps(DARK),
    )


def _pairs(objectives: Sequence[Objective]) -> list[tuple[Objective, Objective]]:
    """Return the (vertical, horizontal) pairs to draw: what is learnt against each of the others."""
    learnt = next((o for o in objectives if o.metric in ("accuracy", "loss")), objectives[0])
    return [(learnt, other) for other in objectives if other.metric != learnt.metric]


def _front_blocks(data: StudyData, figures: list[str]) -> list[str]:
    dots = data.dots()
    if not dots:
        text = "No trial is complete yet, so there is no front. The trials so far are counted above."
        return [f"<section><h2>Front</h2><p>{text}</p></section>"]
    objectives = data.settings.objectives
    if len(objectives) == 1:
        figures.append(as_json(history_figure(dots, objectives[0])))
        return [figure_block("Progress", len(figures) - 1, "Every complete trial, and the best so far as a line.")]
    blocks: list[str] = []
    marks = data.marks(_cost_resolution(data))
    for y, x in _pairs(objectives):
        near = _nearby([dot.values[x.metric] for dot in dots], x.metric, marks)
        figure = front_figure(dots, y, x, near, steps=len(objectives) == 2)
        figures.append(as_json(figure))
        blocks.append(figure_block(f"{y.metric} against {x.metric}", len(figures) - 1, _caption(data, x, near)))
    return blocks


def _caption(data: StudyData, x: Objective, marks: Sequence[Any]) -> str:
    words = ["Point at a dot for its trial, numbers and network."]
    if len(data.settings.objectives) > 2:
        words.append("The front is that of all objectives together, hence no line.")
    if marks and "accuracy" in marks[0].values:
        words.append("Diamonds are named models with their published accuracy.")
    elif marks:
        words.append(
            f"Diamonds below the plot are named models by {x.metric} alone: their published accuracies are of "
            "ImageNet-1k and cannot be compared with these."
        )
    return " ".join(words)


def _nearby(values: Sequence[float], metric: str, marks: Sequence[Any]) -> list[Any]:
    """Keep the models whose cost lies in or near the range of the trials, so that the axis stays that of the trials."""
    low, high = min(values) / 1.5, max(values) * 1.5
    return [mark for mark in marks if metric in mark.values and low <= mark.values[metric] <= high][:_MOST_MARKS]


def _cost_resolution(data: StudyData) -> int:
    return data.settings.cost_resolution or DesignSpace.from_yaml(data.row.space, data.row.name).resolution


def _front_table(data: StudyData) -> str:
    metrics = shown_metrics([objective.metric for objective in data.settings.objectives])
    heads = ["trial", *metrics, "network", "id"]
    rows = [
        [
            f"{data.row.name}:{point.trial}",
            *(measured(point.values.get(name), unit_of(name)) for name in metrics),
            point.description,
            point.architecture,
        ]
        for point in data.front
    ]
    note = "Take one home: nas train TRIAL --data DATA, then nas export TRIAL --to FOLDER."
    return (
        table_block(f"The front: {len(rows)} network{'s' if len(rows) != 1 else ''}", heads, rows, note) if rows else ""
    )


def _second_block(data: StudyData) -> str:
    """Tell of the networks that were trained to the end: how they rank now, and their front."""
    if data.second is None:
        return ""
    names = shown_metrics([objective.metric for objective in data.settings.objectives])
    rows = [
        [f"{data.second.study}:{point.trial}", f"{data.row.name}:{data.second.sources.get(point.trial, '-')}"]
        + [measured(point.values.get(name), unit_of(name)) for name in names]
        + [point.description]
        for point in data.second.front
    ]
    heads = ["trial", "of trial", *names, "network"]
    return table_block("The front after full training", heads, rows, data.second.sentence())


def _rungs_block(data: StudyData) -> str:
    """Count the trials that reached each rung, went on, were stopped, and wait."""
    heads = ["rung", "epoch", "reached", "went on", "stopped", "failed later", "waiting"]
    stops = data.settings.fidelity.stops(data.settings.epochs or 1)
    rungs = rungs_of(data.trials, stops)
    rows = [[f"{rung.number} of {rung.of}", str(rung.epoch), *map(str, rung.counts)] for rung in rungs]
    note = f"Fidelity {data.settings.fidelity}: trials stop at a rung, and the best of it go on from their checkpoints."
    return table_block("Rungs", heads, rows, note) if rows else ""


def _curves_block(data: StudyData, figures: list[str]) -> str:
    metric, curves = data.curves()
    if not curves:
        return ""
    figures.append(as_json(curves_figure(curves, metric)))
    note = f"{metric} on the validation split, epoch by epoch, of {len(curves)} trials."
    return figure_block("Learning curves", len(figures) - 1, note)


def _drawing_blocks(data: StudyData, figures: list[str]) -> list[str]:
    """Draw the first networks of the front, to one scale."""
    blocks: list[str] = []
    drawn = _drawings(data)
    for drawing in drawn:
        figures.append(as_json(architecture_figure(drawing, drawn)))
        note = "Width of a box: channels. Height: size of the maps. Depth: blocks. Colour and sign: token mixer."
        blocks.append(figure_block(f"Network {drawing.name}", len(figures) - 1, note))
    return blocks


def _drawings(data: StudyData) -> list[ArchitectureDrawing]:
    resolution, rows = _cost_resolution(data), {trial.number: trial for trial in data.trials}
    found: list[ArchitectureDrawing] = []
    for point in data.front[:_MOST_DRAWINGS]:
        arch = Architecture.model_validate_json(rows[point.trial].arch_json)
        try:
            found.append(drawing_of(arch, f"{data.row.name}:{point.trial}", resolution))
        except SpaceError:
            continue  # a point that only its twin's size can run
    return found


def _growth_block(data: StudyData, figures: list[str]) -> str:
    figure = _growth(data)
    if figure is None:
        return ""
    figures.append(as_json(figure))
    note = "How much the front dominates after each trial, as a share of what it dominates at the end."
    return figure_block("Hypervolume", len(figures) - 1, note)


def _growth(data: StudyData) -> go.Figure | None:
    dots = data.dots()
    objectives = data.settings.objectives
    if len(objectives) != 2 or not dots:
        return None
    columns = [np.array([dot.values[o.metric] for dot in dots]) for o in objectives]
    steps, volumes = growth(columns, [o.better for o in objectives], np.ones(len(dots), dtype=bool))
    return hypervolume_figure({data.row.name: ([dots[step].trial for step in steps], volumes)})


def report_figures(data: StudyData) -> dict[str, go.Figure]:
    """Return the figures of the report by a name that a file may have."""
    dots, found = data.dots(), dict[str, go.Figure]()
    objectives = data.settings.objectives
    if dots and len(objectives) == 1:
        found["progress"] = history_figure(dots, objectives[0])
    for y, x in _pairs(objectives) if dots and len(objectives) > 1 else ():
        near = _nearby([dot.values[x.metric] for dot in dots], x.metric, data.marks(_cost_resolution(data)))
        found[f"{y.metric}-{x.metric}"] = front_figure(dots, y, x, near, steps=len(objectives) == 2)
    metric, curves = data.curves()
    if curves:
        found["curves"] = curves_figure(curves, metric)
    drawn = _drawings(data)
    for drawing in drawn:
        found[f"network-{drawing.name.rpartition(':')[2]}"] = architecture_figure(drawing, drawn)
    if (grown := _growth(data)) is not None:
        found["hypervolume"] = grown
    return found


def _causes_block(data: StudyData) -> str:
    causes = data.causes()
    rows = [[cause.state, str(cause.count), cause.reason, str(cause.first)] for cause in causes[:_MOST_CAUSES]]
    rest = sum(cause.count for cause in causes[_MOST_CAUSES:])
    note = "Reasons that differ only in numbers are counted together; the first is shown."
    note += f" {rest} more for other reasons." if rest else ""
    return table_block("Failed and rejected", ["state", "trials", "reason", "first"], rows, note) if rows else ""


def _lead(data: StudyData) -> str:
    wanted = ", ".join(f"{'highest' if o.better == 'max' else 'lowest'} {o.metric}" for o in data.settings.objectives)
    limits = f", with {' and '.join(map(str, data.settings.limits))}" if data.settings.limits else ""
    return f"Space {data.settings.space}, data {data.settings.data}: {wanted}{limits}."


def _tiles(data: StudyData) -> str:
    counts = data.counts
    trained = sum(counts[state] for state in TRAINED) - sum(trial.adopted for trial in data.trials)
    tiles = [
        (f"{trained} of {data.settings.budget}", "networks trained"),
        (str(len(data.front)), "on the front"),
        (str(counts["failed"]), "failed"),
        (str(counts["infeasible"]), "over a limit"),
        (str(counts["duplicate"]), "duplicates"),
        (_span(data), "from first to last"),
    ]
    if any(trial.rungs for trial in data.trials):
        tiles.insert(2, (str(counts["stopped"]), "stopped at a rung"))
    waiting = sum(trial.waiting for trial in data.trials)
    if open_trials := counts["queued"] + counts["running"] - waiting:
        tiles.insert(1, (str(open_trials), "running or queued"))
    if waiting:
        tiles.insert(1, (str(waiting), "waiting at a rung"))
    return "".join(f"<div><b>{escape(value)}</b><span>{escape(words)}</span></div>" for value, words in tiles)


def _span(data: StudyData) -> str:
    starts = [trial.started for trial in data.trials if trial.started is not None]
    ends = [trial.finished for trial in data.trials if trial.finished is not None and trial.started is not None]
    return duration((max(ends) - min(starts)).total_seconds()) if starts and ends else "-"


def _about(data: StudyData) -> str:
    settings = data.settings
    trained = (
        f"proxy twins ({settings.proxy})"
        if settings.train_as == "proxy" and settings.proxy
        else settings.train_as or "-"
    )
    facts = {
        "Sampler": f"{settings.sampler}, seed {settings.seed}",
        "Trained as": trained,
        "Fidelity": str(settings.fidelity),
        "Costs": f"of the full networks at {_cost_resolution(data)} px",
        "Data": f"{settings.data}, fingerprint {data.row.data_fingerprint}",
        "Code": data.row.code_version,
        "Created": f"{data.row.created:%Y-%m-%d %H:%M} UTC",
    }
    if reused := Counter(trial.reused.rpartition(":")[0] for trial in data.trials if trial.reused):
        facts["Reused"] = "; ".join(f"{count} results of study {study}" for study, count in sorted(reused.items()))
    items = "".join(f"<dt>{escape(key)}</dt><dd>{escape(str(value))}</dd>" for key, value in facts.items())
    return f"<dl>{items}</dl><details><summary>The space file</summary><pre>{escape(data.row.space)}</pre></details>"
