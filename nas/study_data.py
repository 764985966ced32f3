"""All that is known of a study, read from its store at one moment, in the form figures and pages need."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from nas.figures import Curve, Dot, Mark
from nas.front import FrontPoint, description_of, front_points, values_of
from nas.objective import vector
from nas.quantities import short
from nas.settings import SearchSettings
from space import SpaceError, cost
from space.named import PLAIN, Published, model_names, named
from trials.rows import EpochRow, StudyRow, TrialRow
from trials.store import Store

_NUMBER = re.compile(r"\d[\d,.]*(?:e[+-]?\d+)?")


@dataclass(frozen=True)
class Cause:
    """Why trials came to nothing: trials whose reasons differ only in numbers are counted together."""

    state: str
    reason: str
    """The reason of the first of them, as stored."""
    count: int
    first: int
    """Number of the first of them."""


@dataclass(frozen=True)
class StudyData:
    """A study with its trials, curves and front."""

    row: StudyRow
    settings: SearchSettings
    trials: Sequence[TrialRow]
    epochs: Sequence[EpochRow]
    front: Sequence[FrontPoint]

    @classmethod
    def read(cls, store: Store, name: str) -> StudyData:
        """Read a study. Raises StoreError where there is none of that name (with the nearest)."""
        row = store.study(name)
        settings = SearchSettings.make(**row.config)
        trials = store.trials(row.id)
        return cls(row, settings, trials, store.epochs(row.id), front_points(trials, settings.objectives))

    @property
    def counts(self) -> Counter[str]:
        """Trials per state."""
        return Counter(trial.state for trial in self.trials)

    def dots(self) -> list[Dot]:
        """Return the complete trials that have a finite value of every objective."""
        best = {point.trial for point in self.front}
        return [
            Dot(
                trial.number,
                trial.arch_id,
                values_of(trial),
                description_of(trial),
                trial.number in best,
            )
            for trial in self.trials
            if trial.state == "complete" and vector(self.settings.objectives, values_of(trial)) is not None
        ]

    def curves(self) -> tuple[str, list[Curve]]:
        """Return the metric of the learning curves (accuracy where it was reported) and one curve a trial."""
        names = Counter(name for epoch in self.epochs for name in epoch.metrics)
        if not names:
            return "", []
        metric = next((name for name in ("accuracy", "loss") if name in names), names.most_common(1)[0][0])
        best = {point.trial for point in self.front}
        rows: dict[int, list[EpochRow]] = {}
        for epoch in self.epochs:
            if metric in epoch.metrics:
                rows.setdefault(epoch.number, []).append(epoch)
        curves: list[Curve] = []
        for number, found in sorted(rows.items()):
            ordered = sorted(found, key=lambda row: row.epoch)
            values = [_finite(row.metrics[metric]) for row in ordered]
            curves.append(Curve(number, [row.epoch for row in ordered], values, number in best))
        return metric, curves

    def causes(self) -> list[Cause]:
        """Return why trials were refused, failed or stopped, the most frequent first."""
        groups: dict[tuple[str, str], list[TrialRow]] = {}
        for trial in self.trials:
            if trial.state in ("failed", "infeasible", "duplicate", "stopped"):
                alike = _NUMBER.sub("#", trial.reason or "")
                groups.setdefault((trial.state, alike), []).append(trial)
        causes = [
            Cause(state, rows[0].reason or "no reason stored", len(rows), rows[0].number)
            for (state, _), rows in groups.items()
        ]
        return sorted(causes, key=lambda cause: -cause.count)

    def marks(self, resolution: int) -> list[Mark]:
        """Return the named models with what can be compared with this study.

        Costs are counted at `resolution`, that of the study's own costs. Published accuracies are of ImageNet-1k and
        take part only where the study's data is that.
        """
        same = "imagenet" in self.settings.data.lower()
        return [mark for name in model_names() if (mark := _mark(name, resolution, same_data=same)) is not None]


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None


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
