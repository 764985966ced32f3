"""The choice of the training size: as large as a trial of a few seconds allows, by a short measurement."""

from __future__ import annotations

import contextlib
import math
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional

from nas.admission import Admission
from nas.fitted_space import FittedSpace
from nas.objective import Limit
from nas.training_size import TrainingSize
from space import Architecture, NasError, Proxy, SpaceError, build
from trials.data import ImageData
from trials.threads import torch_threads
from trials.training.recipe import Recipe

AIM_SECONDS = 8.0
"""Expected mean time of a trial; below the 10 s aimed at, since start-up and contention add to it."""
CANDIDATES = (
    Proxy(width=0.5, depth=0.5),
    Proxy(),
    Proxy(width=0.25, depth=0.25),
    Proxy(width=0.125, depth=0.25),
    Proxy(width=0.0625, depth=0.25),
)
"""Twins from large to small; the first that meets the aim is taken, else the last."""
DRAWS = 12
"""Points that are measured: mixers of equal MACs differ by an order of magnitude in seconds, on a CPU above all."""
STEP_MACS = 1e9
"""Work of a measured step: well under a second on one core."""
BACKWARD = 3
"""A training step costs about three forward passes."""


@dataclass(frozen=True)
class Estimate:
    """What a trial of a given training size is expected to take."""

    size: TrainingSize
    seconds: float


@dataclass(frozen=True)
class Question:
    """All that the choice depends on; None where the user left it open."""

    space: FittedSpace
    limits: Sequence[Limit]
    data: ImageData
    recipe: Recipe
    device: str
    threads: int
    seed: int
    train_as: Literal["full", "proxy"] | None
    proxy: Proxy | None
    resolution: int | None
    cost_resolution: int | None

    def full(self) -> TrainingSize:
        """Return the size of a full training."""
        side = self.resolution or self.data.resolution
        return TrainingSize("full", None, side, self.cost_resolution or side)

    def twin(self, proxy: Proxy) -> TrainingSize:
        """Return the size of a proxy training."""
        side = self.cost_resolution or self.space.space.resolution
        return TrainingSize("proxy", proxy, proxy.resolution, side)


def given_size(question: Question) -> TrainingSize | None:
    """Return the size where the user or the space file fixes it; None where it is open.

    Raises:  NasError where a proxy is given for a full training.
    """
    if question.train_as == "full":
        if question.proxy is not None:
            raise NasError("proxy: given together with full training, allowed is one of them")
        return question.full()
    fixed = question.proxy or question.space.space.proxy
    return question.twin(fixed) if fixed is not None else None


def choose_size(question: Question) -> Estimate:
    """Choose what to train: full networks where they meet the aim, else the largest twin that does.

    Takes a few seconds. Raises ObjectiveError where no network meets the limits.
    """
    fixed = given_size(question)
    if fixed is not None:
        points = _drawn(question, fixed)
        return Estimate(fixed, _seconds(question, fixed, points, _rates(question, fixed, points)))
    twins = [question.twin(proxy) for proxy in CANDIDATES]
    points = _drawn(question, twins[-1])
    rates = _rates(question, twins[-1], points)
    estimates = [Estimate(size, _seconds(question, size, points, rates)) for size in twins]
    if question.train_as is None:
        full = question.full()
        with contextlib.suppress(NasError):  # no network meets the limits at the data's own resolution: only twins can
            others = _drawn(question, full)
            middle = statistics.harmonic_mean([rate for rate in rates if rate] or [math.inf])
            estimates.insert(0, Estimate(full, _seconds(question, full, others, [middle] * len(others))))
    return next((each for each in estimates if each.seconds <= AIM_SECONDS), estimates[-1])


def _drawn(question: Question, size: TrainingSize) -> list[Architecture]:
    """Draw some feasible points. Raises NasError where there are none."""
    admission = Admission(question.space.at(size.cost_resolution), size, question.limits)
    admission.check_possible(question.seed)
    rng = random.Random(question.seed)
    found = [admission.draw(rng) for _ in range(DRAWS)]
    return [arch for arch in found if arch is not None]


def _seconds(
    question: Question, size: TrainingSize, points: Sequence[Architecture], rates: Sequence[float | None]
) -> float:
    """Return the expected mean seconds of training these points, inf where none of them can be trained at this size.

    `rates` are the MACs per second of each; None: it could not be measured, and counts as the mean of the others.
    """
    data, recipe = question.data, question.recipe.for_data(len(question.data.train))
    epochs = recipe.epochs or 1
    trained = epochs * min(len(data.train), recipe.epoch_images or len(data.train))
    judged = epochs * min(len(data.validation), recipe.validation_images or len(data.validation))
    seconds: list[float] = []
    for arch, rate in zip(points, rates, strict=True):
        with contextlib.suppress(SpaceError):  # this one leaves nothing of such small images
            if rate is not None:
                seconds.append((BACKWARD * trained + judged) * size.training_cost(arch).macs / rate)
    return statistics.fmean(seconds) if seconds else math.inf


def _rates(question: Question, size: TrainingSize, points: Sequence[Architecture]) -> list[float | None]:
    """Measure the MACs per second of a training step on each point; None where it leaves nothing of such images."""
    rates: list[float | None] = []
    with torch.random.fork_rng(devices=[]), torch_threads(question.threads):
        for arch in points:
            try:
                macs = BACKWARD * size.training_cost(arch).macs
                batch = int(max(2, min(64, STEP_MACS / macs)))
                seconds = _timed_step(size.twin(arch), size.resolution, batch, question.device)
                rates.append(macs * batch / seconds)
            except SpaceError:
                rates.append(None)
    return rates


def _timed_step(arch: Architecture, side: int, batch: int, device: str) -> float:
    """Return the seconds of one forward and backward pass, after a small one to warm up."""
    model = build(arch).to(device).train()
    for count in (2, batch):
        images = torch.randn(count, arch.in_channels, side, side, device=device)
        begin = time.perf_counter()
        functional.cross_entropy(model(images), torch.zeros(count, dtype=torch.long, device=device)).backward()
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - begin
    return max(seconds, 1e-6)
