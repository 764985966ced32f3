"""Train one network in full and take its test accuracy, once: `nas train`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from nas.checkpoint import CheckpointError, load_checkpoint, read_facts, save_checkpoint
from nas.effective_cost import effective_cost
from nas.facts import DataFacts, EffectiveFacts, InputFacts, NetworkFacts, Score, TrainingFacts, versions
from nas.files import sha256_of
from nas.training_folder import TrainingFolder
from nas.training_plan import TrainingPlan, plan_training
from space import Architecture, build, cost
from trials.data import ImageData
from trials.data.images import stored_side
from trials.measurement import Measured
from trials.store import Store
from trials.training import FULL_RECIPE, Recipe, evaluate, fit

OnEpoch = Callable[[int, dict[str, float]], None]
ARTIFACT = "checkpoint"
"""Kind of the artifact that a trained network is recorded as."""
EVALUATOR = "full_training"


@dataclass(frozen=True)
class Trained:
    """A network trained to the end."""

    name: str
    arch: Architecture
    test_accuracy: float
    validation_accuracy: float
    test_loss: float
    params: int
    macs: int
    resolution: int
    """Side of the images in pixels, for training and for `macs`."""
    epochs: int
    seconds: float
    """Wall time of the training, over all its resumptions."""
    data: str
    checkpoint: Path
    recorded: bool
    """Whether the store knows the checkpoint; it does when that lies under the store's folder."""
    effective: EffectiveFacts | None = None
    """What remains without the zero weights, of a network that was trained sparse."""


def train_network(
    reference: str,
    data: str | None = None,
    *,
    store: Store,
    epochs: int | None = None,
    out: Path | None = None,
    resolution: int | None = None,
    seed: int = 0,
    threads: int | None = None,
    device: str | None = None,
    recipe: Recipe = FULL_RECIPE,
    on_epoch: OnEpoch | None = None,
) -> Trained:
    """Train the network that `reference` names by the recipe, or go on where an earlier call was cut off.

    See `plan_training` and `run_training`, which this calls one after the other.
    """
    plan = plan_training(
        reference, data, store=store, epochs=epochs, out=out, resolution=resolution, seed=seed, threads=threads,
        device=device, recipe=recipe,
    )  # fmt: skip
    return run_training(plan, store, on_epoch)


def run_training(plan: TrainingPlan, store: Store, on_epoch: OnEpoch | None = None) -> Trained:
    """Train as planned, take the test accuracy once, write the checkpoint and record both in the store.

    Cut off at any moment, it goes on when called again with the same plan; a finished one only reads its result.
    Raises:  TrainingFailed on divergence; NasError where files cannot be written or read.
    """
    if not plan.checkpoint.exists():
        _train(plan, on_epoch)
    facts = read_facts(plan.checkpoint)
    training, test, validation = facts.training, facts.score("test"), facts.score("validation")
    if training is None or test is None or validation is None:
        raise CheckpointError(f"{plan.checkpoint}: is no finished training; move it away to train anew")
    counts = cost(facts.architecture, facts.input.resolution)
    recorded = _record(plan, store, facts)
    plan.progress.unlink(missing_ok=True)
    return Trained(
        name=plan.origin.name,
        arch=facts.architecture,
        test_accuracy=test.accuracy,
        validation_accuracy=validation.accuracy,
        test_loss=test.loss,
        params=counts.params,
        macs=counts.macs,
        resolution=facts.input.resolution,
        epochs=plan.epochs,
        seconds=training.seconds,
        data=training.data.name,
        checkpoint=plan.checkpoint,
        recorded=recorded,
        effective=_effective(plan.checkpoint) if facts.sparse else None,
    )


def _effective(checkpoint: Path) -> EffectiveFacts:
    network, facts = load_checkpoint(checkpoint)
    return effective_cost(network, facts.architecture, facts.input.resolution)


def _train(plan: TrainingPlan, on_epoch: OnEpoch | None) -> None:
    """Train and write the checkpoint."""
    folder = TrainingFolder(plan.folder, plan.key)
    with folder.held():
        before, start = folder.seconds(), time.monotonic()
        folder.note(before)

        def report(epoch: int, metrics: dict[str, float]) -> None:
            folder.note(before + time.monotonic() - start)
            if on_epoch is not None:
                on_epoch(epoch, metrics)

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(plan.seed)
            network = build(plan.arch, drop_path=plan.recipe.drop_path)
        validation = fit(
            network, plan.data, plan.recipe, seed=plan.seed, device=plan.device, threads=plan.threads, on_epoch=report,
            checkpoint=plan.progress,
        )  # fmt: skip
        seconds = before + time.monotonic() - start
        opened = plan.data.unsealed()
        test = evaluate(network, opened.test, opened, device=plan.device, threads=plan.threads, amp=plan.recipe.amp)
        scores = (_score("validation", validation, plan.data), _score("test", test, opened))
        save_checkpoint(plan.checkpoint, network, _facts(plan, seconds, scores))


def _score(split: Literal["validation", "test"], found: dict[str, float], data: ImageData) -> Score:
    images = len(data.validation if split == "validation" else data.test)
    return Score(split=split, accuracy=found["accuracy"], loss=found["loss"], images=images, data=data.name)


def _facts(plan: TrainingPlan, seconds: float, scores: tuple[Score, ...]) -> NetworkFacts:
    data, (nas_version, torch_version) = plan.data, versions()
    images = {"train": len(data.train), "validation": len(data.validation), "test": len(data.sealed_test)}
    facts = DataFacts(name=data.name, spec=data.spec, fingerprint=data.fingerprint, seed=plan.data_seed, images=images)
    training = TrainingFacts(
        data=facts,
        recipe=plan.recipe.model_dump(mode="json"),
        seed=plan.seed,
        device=plan.device,
        threads=plan.threads,
        seconds=round(seconds, 3),
        nas_version=nas_version,
        torch_version=torch_version,
    )
    reads = InputFacts(
        channels=data.channels,
        resolution=data.resolution,
        resize=stored_side(data.resolution),
        mean=data.mean,
        std=data.std,
    )
    return NetworkFacts(
        origin=plan.origin, architecture=plan.arch, input=reads, classes=data.classes, training=training, scores=scores
    )


def _record(plan: TrainingPlan, store: Store, facts: NetworkFacts) -> bool:
    """Store the measurements and, if it lies under the store's folder, the checkpoint; return whether it does."""
    training = facts.training
    if training is None:
        return False
    circumstances: dict[str, str | int | float] = {
        "data": training.data.name,
        "data_fingerprint": training.data.fingerprint,
        "resolution": facts.input.resolution,
        "recipe": plan.recipe.name,
        "epochs": plan.epochs,
        "device": training.device,
        "threads": training.threads,
        **({"sparsity": str(plan.recipe.sparsity)} if plan.recipe.sparsity else {}),
    }
    measurements: dict[str, Measured] = {}
    for score in facts.scores:
        measurements[f"{score.split}_accuracy"] = Measured(score.accuracy, "ratio", None, circumstances)
        measurements[f"{score.split}_loss"] = Measured(score.loss, "nats", None, circumstances)
    trial = plan.trial
    store.add_measurements(
        trial.arch_id if trial else plan.arch.id,
        measurements,
        trial_id=trial.id if trial else None,
        arch_json=None if trial else plan.arch.model_dump_json(exclude_defaults=True),
        evaluator=EVALUATOR,
        seed=training.seed,
    )
    path, root = plan.checkpoint.resolve(), store.root.resolve()
    if not path.is_relative_to(root):
        return False
    store.add_artifact(
        trial.id if trial else None,
        kind=ARTIFACT,
        path=path.relative_to(root).as_posix(),
        sha256=sha256_of(path),
        bytes=path.stat().st_size,
    )
    return True
