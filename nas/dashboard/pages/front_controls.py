"""The controls of the front page; each sets a field of the address."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from dash import dcc, html

from nas.dashboard.address import link
from nas.dashboard.components import Check, Pick, Range
from nas.dashboard.frames import Frame
from nas.dashboard.selection import EXTRA, Selection, metrics_of
from nas.dashboard.view import View
from nas.front_table import unit_of
from trials.measurement import METRICS


def controls(view: View, names: Sequence[str], frames: Sequence[Frame], selection: Selection) -> html.Div:
    """Return axes, what is shown, limits, studies and the way to the comparison."""
    metrics = metrics_of(frames)
    parts: list[Any] = [
        html.Fieldset([html.Legend("Axes"), *_axes(metrics, selection)]),
        html.Fieldset([html.Legend("Show"), *_shown(view, frames, selection)]),
        _limits(metrics, frames, selection),
        _studies(view, names),
    ]
    if compared := view.address.all("trial"):
        words = f"Compare {len(compared)} network{'s' if len(compared) > 1 else ''}"
        parts.append(dcc.Link(words, href=link("compare", trial=compared), className="button"))
    return html.Div(parts, className="controls")


def _axes(metrics: Sequence[str], selection: Selection) -> list[Any]:
    options = [{"value": name, "label": name} for name in metrics]
    none = [{"value": "", "label": "none"}]
    return [
        Pick(label="across", field="x", options=options, value=selection.x.metric, default=""),
        Check(label="log", field="logx", value="1", checked=selection.log_x, off="0", hint="logarithmic across"),
        Pick(label="up", field="y", options=options, value=selection.y.metric, default=""),
        Check(label="log", field="logy", value="1", checked=selection.log_y, off="0", hint="logarithmic up"),
        Pick(
            label="third",
            field="z",
            options=none + options,
            value=selection.z.metric if selection.z else "",
            default="",
        ),
    ]


def _shown(view: View, frames: Sequence[Frame], selection: Selection) -> list[Any]:
    address = view.address
    boxes = [
        Check(label=words, field=name, value="1", checked=address.get(name) != "0", on="", off="0")
        for name, words in (
            ("dominated", "dominated"),
            ("lanes", "infeasible, failed"),
            ("models", "named models"),
        )
    ]
    sorts = [{"value": name, "label": name} for name in metrics_of(frames) if name not in EXTRA]
    rows = [{"value": "", "label": "the front"}, {"value": "all", "label": "all complete trials"}]
    return [
        *boxes,
        Check(label="hidden ones", field="hidden", value="1", checked=address.flag("hidden")),
        Pick(label="table of", field="show", options=rows, value=address.get("show"), default=""),
        Pick(
            label="sorted by", field="sort", options=sorts, value=address.get("sort") or selection.y.metric, default=""
        ),
    ]


def _limits(metrics: Sequence[str], frames: Sequence[Frame], selection: Selection) -> html.Details:
    sliders: list[Any] = []
    axes = [objective.metric for objective in selection.axes]
    for name in metrics:
        if name in EXTRA:
            continue
        values = np.concatenate([frame.values(name)[frame.state("complete", "stopped")] for frame in frames])
        values = values[np.isfinite(values)]
        if not len(values) or values.min() == values.max():
            continue
        low, high = float(values.min()), float(values.max())
        natural = "low" if name in METRICS and METRICS[name].better == "max" else "high"
        log = low > 0 and high / low > 5
        # of an axis both ends can be set: together the limits are a box, which three axes have no rectangle for
        for end in ("low", "high") if name in axes else (natural,):
            at = selection.limits.get(name, (None, None))[0 if end == "low" else 1]
            words = f"{name} {'at least' if end == 'low' else 'at most'}"
            field = f"{'least' if end == 'low' else 'most'}.{name}"
            sliders.append(
                Range(label=words, field=field, low=low, high=high, log=log, value=at, unit=unit_of(name), end=end)
            )
    count = len(selection.limits)
    title = f"Limits ({count} set)" if count else "Limits"
    return html.Details(
        [html.Summary(title), html.Div(sliders, className="sliders")], open=bool(count), className="limits"
    )


def _studies(view: View, names: Sequence[str]) -> html.Details:
    known = [summary.name for summary in view.queries.studies()[:30]]
    if len(known) < 2:
        return html.Details([html.Summary("Studies"), html.P("The store has no other study.")], className="limits")
    boxes = [
        Check(label=name, field="study", value=name, checked=name in names, several=True, among=list(names))
        for name in dict.fromkeys([*names, *known])
    ]
    return html.Details(
        [html.Summary(f"Studies ({len(names)} of {len(known)} shown)"), html.Div(boxes, className="boxes")],
        open=len(names) > 1,
        className="limits",
    )
