"""All that is known of a study, read from its store at one moment, in the form figures and pages need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from nas.causes import Cause, Causes
from nas.figures import Curve, Dot, Mark
from nas.front import FrontPoint, description_of, front_points, values_of
from nas.model_marks import model_marks
from nas.objective import vector
from nas.second_stage import Outcome, read_second
from nas.settings import SearchSettings
from trials.rows import EpochRow, StudyRow, TrialRow
from trials.store import Store


@dataclass(frozen=True)
class StudyData:
    """A study with its trials, curves and front."""

    row: StudyRow
    settings: SearchSettings
    trials: Sequence[TrialRow]
    epochs: Sequence[EpochRow]
    front: Sequence[FrontPoint]
    second: Outcome | None = None
    """What the second stage came to, where there is one."""

    @classmethod
    def read(cls, store: Store, name: str) -> StudyData:
        """Read a study. Raises StoreError where there is none of that name (with the nearest)."""
        row = store.study(name)
        settings = SearchSettings.make(**row.config)
        trials = store.trials(row.id)
        front = front_points(trials, settings.objectives)
        return cls(row, settings, trials, store.epochs(row.id), front, read_second(store, row))

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
        causes = Causes()
        for trial in self.trials:
            causes.take(trial.state, trial.reason, trial.number)
        return causes.all()

    def marks(self, resolution: int) -> list[Mark]:
        """Return the named models with what can be compared with this study.

        Costs are counted at `resolution`, that of the study's own costs. Published accuracies are of ImageNet-1k and
        take part only where the study's data is that.
        """
        same = "imagenet" in self.settings.data.lower()
        return list(model_marks(resolution, same_data=same))


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None
