"""The named models as marks beside the trials of a study: what can be compared, and words about it."""

from __future__ import annotations

from collections.abc import Sequence

from nas.figures.front import Mark
from nas.quantities import short
from space import SpaceError, cost
from space.named import PLAIN, Published, model_names, named


def model_marks(resolution: int, *, same_data: bool) -> tuple[Mark, ...]:
    """Return the named models that run at `resolution` px, with their costs there.

    Published accuracies are of ImageNet-1k and take part only where the study's data is that (`same_data`).
    """
    found = (_mark(name, resolution, same_data=same_data) for name in model_names())
    return tuple(mark for mark in found if mark is not None)


def _mark(name: str, resolution: int, *, same_data: bool) -> Mark | None:
    model = named(name)
    try:
        counts = cost(model.arch.fitted(resolution), resolution)
    except SpaceError:
        return None
    values = {"params": float(counts.params), "macs": float(counts.macs), "activations": float(counts.activations)}
    entry = _comparable(model.published)
    note = f"{short(counts.params)} parameters, {short(counts.macs)} MACs at {resolution} px"
    if entry is not None:
        note += f"; published: {entry.top1:g} % top-1 on ImageNet-1k at {entry.input} px"
        if entry.pretrain != PLAIN:
            note += f" ({entry.pretrain})"
        if same_data and entry.top1 is not None:
            values["accuracy"] = entry.top1 / 100
    return Mark(name, values, note)


def _comparable(published: Sequence[Published]) -> Published | None:
    """Return the published accuracy that a search's own compares with best: without other data first, if any."""
    found = [entry for entry in published if entry.top1 is not None]
    return min(found, key=lambda entry: entry.pretrain != PLAIN, default=None)
