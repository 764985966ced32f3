"""Train a network by a recipe."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from trials.data import ImageData
from trials.threads import torch_threads
from trials.training.checkpoint import load_checkpoint, save_checkpoint
from trials.training.failure import TrainingFailed
from trials.training.recipe import Recipe
from trials.training.run import Run
from trials.training.stretch import Stretch

OnEpoch = Callable[[int, dict[str, float]], None]
"""Called with the number of epochs done (from 1) and that epoch's accuracy, loss, train_loss and lr."""


def fit(
    model: nn.Module,
    data: ImageData,
    recipe: Recipe,
    *,
    seed: int,
    device: str = "cpu",
    threads: int = 1,
    on_epoch: OnEpoch | None = None,
    checkpoint: Path | None = None,
    resume: bool = True,
    stretch: Stretch | None = None,
) -> dict[str, float]:
    """Train `model` in place and return its validation `accuracy` in [0, 1] and `loss` in nats.

    The model ends with the weights the recipe keeps. Same model, data, recipe, seed, device and threads: same result,
    bit for bit on a CPU, however often the training was interrupted: every epoch's randomness follows from the seed
    and its number, and `checkpoint` is written after every epoch. An epoch that was cut short is trained again.

    stretch:  trains no further than its end, where `checkpoint` is written unless the training is over; the next
              stretch goes on from there. Where all stretches have whole images and all of them, the last one ends with
              the same bits as a training in one go. `data` is at the stretch's resolution.

    Raises TrainingFailed on a loss that is not finite, on divergence and when memory runs out; CheckpointError if the
    checkpoint belongs to another training; DataError on a file that cannot be read. The caller's random state and
    thread count are left as they were.
    """
    if recipe.resolution not in (None, data.resolution):
        raise TrainingFailed(f"recipe {recipe.name!r}: {recipe.resolution} px, but the data has {data.resolution} px")
    recipe = recipe.for_data(len(data.train))
    devices = [torch.device(device)] if torch.device(device).type == "cuda" else []
    identity = _identity(model, data, recipe, seed)
    if stretch is not None:
        identity["resolution"] = "by stretches"
    with torch_threads(threads), torch.random.fork_rng(devices):
        try:
            run = Run(model, data, recipe, seed, device, threads, images=stretch.images if stretch else 1.0)
            if checkpoint is not None and resume and checkpoint.exists():
                run.load_state(load_checkpoint(checkpoint, identity))
            end = min(stretch.until, run.epochs) if stretch else run.epochs
            while run.epoch < end:
                metrics = run.train_epoch()
                if checkpoint is not None and (stretch is None or run.epoch == end < run.epochs):
                    save_checkpoint(checkpoint, run.state(), identity)
                if on_epoch is not None:
                    on_epoch(run.epoch, metrics)
            return run.finish()
        except torch.OutOfMemoryError as error:
            raise TrainingFailed(f"training: out of memory on {device} ({str(error).split('.')[0]})") from None


def _identity(model: nn.Module, data: ImageData, recipe: Recipe, seed: int) -> dict[str, str]:
    """Return what must agree for a checkpoint to be continued."""
    shapes = repr([(name, tuple(value.shape)) for name, value in model.state_dict().items()])
    return {
        "network": hashlib.sha256(shapes.encode()).hexdigest()[:16],
        "data": f"{data.name} {data.fingerprint}",
        "resolution": str(data.resolution),
        "seed": str(seed),
        **{f"recipe.{name}": repr(value) for name, value in recipe.model_dump().items()},
    }
