"""What Ray Tune runs for a trial: a point trained by the study's recipe, every epoch reported as it comes."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ray import tune

from nas.executors.work import measured_from, perform, reason_of
from nas.fitted_space import FittedSpace
from nas.flight import job_for
from nas.front import values_of
from nas.objective import COUNTED, violated
from nas.preparation import Preparation
from nas.settings import SearchSettings
from nas.training_size import TrainingSize
from space import Architecture, DesignSpace, NasError
from trials.evaluator import Evaluator, Job
from trials.rows import FINAL, TrialRow
from trials.seeds import trial_seed

TRIAL, EPOCH, CURVE, RESULT = "trial", "epoch", "curve", "nas_result"
"""Keys of a report: the trial's number in the study, epochs done, which keys are the epoch's metrics, and (in the last
report, as JSON) what the evaluators measured or why they failed."""
TOLD_BY_TRAINING = ("train_loss", "lr")
"""What epochs report beside the metrics of the evaluators."""
Config = Mapping[str, Any]
"""`trial`: its number; `choices`: the point in its space; `known`: results that need not be measured again."""


class TrialFailed(NasError):
    """A trial that the store holds as failed."""


@dataclass(frozen=True)
class Plan:
    """All that a worker needs to know of a study; it travels with the trainable."""

    settings: dict[str, Any]
    space: str
    """YAML text."""
    size: TrainingSize
    classes: int
    in_channels: int
    checkpoints: bool
    """Whether epochs are reported with a checkpoint."""
    ended: dict[int, dict[str, Any]] = field(default_factory=dict[int, dict[str, Any]])
    """Trials that the store knows the end of, by number: a Tune run that is restored may believe them open."""

    @classmethod
    def of(cls, prepared: Preparation, rows: Sequence[TrialRow], *, checkpoints: bool) -> Plan:
        """Return the plan of a study with these trials."""
        ended = {
            row.number: {"state": row.state, "reason": row.reason, "epochs": row.epochs, "values": values_of(row)}
            for row in rows
            if row.state in FINAL and row.attempt
        }
        data, settings = prepared.data, prepared.settings.model_dump(mode="json")
        text = prepared.space.space.text
        return cls(settings, text, prepared.size, len(data.classes), data.channels, checkpoints, ended)


def trainable_of(plan: Plan, gpus: float) -> Callable[[dict[str, Any]], None]:
    """Return the function that `tune.Tuner` takes; each trial sets aside the study's threads, and a share of a GPU."""

    def train_point(config: dict[str, Any]) -> None:
        run_trial(plan, config)

    resources = {"cpu": plan.settings["threads"], **({"gpu": gpus} if gpus else {})}
    return tune.with_resources(train_point, resources)


def run_trial(plan: Plan, config: Config) -> None:
    """Train and measure a point, reporting to Tune; an error is reported, then raised."""
    settings = _settings(json.dumps(plan.settings))
    names = [name for evaluator in settings.evaluators for name in evaluator.metrics]
    blank = dict.fromkeys([*names, *TOLD_BY_TRAINING, *COUNTED], math.nan)  # Tune asks for its metric in each report
    if (ended := plan.ended.get(config[TRIAL])) is not None:
        if ended["state"] == "failed":
            raise TrialFailed(f"trial {settings.study}:{config[TRIAL]}: {ended['reason']}")
        tune.report({**blank, **ended["values"], TRIAL: config[TRIAL], EPOCH: ended["epochs"]})
        return
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="nas-tune-"))) if plan.checkpoints else None
        reports = _Reports({**blank, TRIAL: config[TRIAL]}, settings.epochs, folder)
        try:
            outcome, values = _measure(plan, settings, config, reports)
        except Exception as error:
            reports.last({"failed": reason_of(error)}, {})
            raise
        reports.last({"outcome": outcome}, values)


def _measure(
    plan: Plan, settings: SearchSettings, config: Config, reports: _Reports
) -> tuple[dict[str, Any], dict[str, float]]:
    """Run the evaluators; return their outcomes as JSON, and everything that is known of the point by number.

    Those that a limit asks for come first: where it is violated, nothing is trained.
    """
    arch = _space(plan.space, plan.classes, plan.in_channels, plan.size.cost_resolution).decode(dict(config["choices"]))
    cost = plan.size.cost(arch)
    values = {name: float(getattr(cost, name)) for name in COUNTED} | config.get("known", {}).get("values", {})
    reports.base.update(values)
    if reports.folder is not None and (kept := tune.get_checkpoint()) is not None:
        with kept.as_directory() as there:
            shutil.copytree(there, reports.folder, dirs_exist_ok=True)
    known = config.get("known", {}).get("evaluators", ())
    left = [each for each in settings.evaluators if each.kind not in known]
    limited = {limit.metric for limit in settings.limits}
    first = tuple(each for each in left if limited & set(each.metrics))
    outcome: dict[str, Any] = {}
    for evaluators in (first, tuple(each for each in left if each not in first)):
        if not evaluators or violated(settings.limits, values):
            continue
        job = _job(arch, plan, settings, config[TRIAL], evaluators, reports.folder)
        outcome |= perform(job.model_dump_json(exclude_defaults=True), reports.epoch)
        for each in outcome.values():
            values |= {name: measured.value for name, measured in measured_from(each).items()}
    return outcome, values


def _job(
    arch: Architecture,
    plan: Plan,
    settings: SearchSettings,
    number: int,
    evaluators: tuple[Evaluator, ...],
    folder: Path | None,
) -> Job:
    seed = trial_seed(settings.seed, arch.id)
    job = job_for(arch, settings, plan.size, number=number, seed=seed, evaluators=evaluators)
    return job.model_copy(update={"checkpoint_dir": folder})


class _Reports:
    """Tells Tune of a trial: each epoch at once, but the last of the recipe together with the result.

    A scheduler may end a trial at any report. The one after the last epoch must hold the result, or it would be lost.
    """

    def __init__(self, base: dict[str, Any], epochs: int | None, folder: Path | None) -> None:
        """Report `base` each time; `folder` is where the training keeps its checkpoint."""
        self.base, self.folder = base, folder
        self._epochs = epochs
        self._held: tuple[int, dict[str, float]] | None = None
        self._told: dict[str, Any] = {EPOCH: 0}

    def epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        """Take an epoch from the training."""
        self._let_go()
        self._held = epoch, metrics
        if epoch != self._epochs:
            self._let_go()

    def last(self, result: dict[str, Any], values: dict[str, float]) -> None:
        """Report the end: the result, and the measured values in place of those of the last epoch."""
        if self._held is not None:
            epoch, metrics = self._held
            self._told = {**metrics, EPOCH: epoch}
        text = json.dumps({**result, "last": self._held})
        tune.report({**self.base, **self._told, **values, RESULT: text})

    def _let_go(self) -> None:
        if self._held is None:
            return
        epoch, metrics = self._held
        self._held, self._told = None, {**metrics, EPOCH: epoch}
        kept = tune.Checkpoint.from_directory(str(self.folder)) if self.folder and any(self.folder.iterdir()) else None
        tune.report({**self.base, **self._told, CURVE: " ".join(metrics)}, checkpoint=kept)


# a process may run many trials of one study, and a large space takes a second to read


@cache
def _settings(text: str) -> SearchSettings:
    return SearchSettings.make(**json.loads(text))


@cache
def _space(text: str, classes: int, in_channels: int, resolution: int) -> FittedSpace:
    return FittedSpace(DesignSpace.from_yaml(text), classes=classes, in_channels=in_channels, resolution=resolution)
