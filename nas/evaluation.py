"""Take the test accuracy of a trained network: `nas evaluate`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from nas.bundle import load
from nas.checkpoint import CheckpointError, load_checkpoint
from nas.facts import NetworkFacts
from nas.training_plan import default_device, device_named
from space import NasError
from trials.data import ImageData, load_data
from trials.training import evaluate


@dataclass(frozen=True)
class Evaluated:
    """How well a trained network does on the test images."""

    name: str
    data: str
    test_accuracy: float
    test_loss: float
    images: int


def evaluate_network(
    reference: str, data: str | None = None, *, threads: int | None = None, device: str | None = None
) -> Evaluated:
    """Return the accuracy of a trained checkpoint, or of an exported folder, on the test images of `data`.

    data:  None: the data it was trained on. Other data must have the same classes, in the same order.
    Raises:  NasError: no trained network, damaged files, data that do not fit it.
    """
    network, facts = load_trained(Path(reference))
    if facts.training is None and data is None:
        raise CheckpointError(f"{reference}: was not trained; say which data to evaluate it on")
    known = facts.training.data if facts.training else None
    spec = data or (known.spec if known else "")
    images = load_data(spec, resolution=facts.input.resolution, seed=known.seed if known else 0)
    _check_classes(reference, facts, images)
    # the network was trained on images normalised by its own data's mean and deviation
    own = replace(images, mean=facts.input.mean, std=facts.input.std).unsealed()
    where = device or default_device()
    device_named(where)
    threads = threads or torch.get_num_threads()
    found = evaluate(network.to(where), own.test, own, device=where, threads=threads)
    return Evaluated(reference, images.name, found["accuracy"], found["loss"], len(own.test))


def load_trained(path: Path) -> tuple[nn.Module, NetworkFacts]:
    """Return the network of a checkpoint file or an exported folder, with its facts. Raises CheckpointError."""
    if path.is_dir():
        loaded = load(path)
        return loaded.network, loaded.card.network
    return load_checkpoint(path)


def _check_classes(reference: str, facts: NetworkFacts, data: ImageData) -> None:
    if facts.classes != data.classes:
        raise NasError(
            f"{reference}: tells {_listed(facts.classes)} apart, the classes of {data.name} are {_listed(data.classes)}"
        )
    if facts.input.channels != data.channels:
        raise NasError(
            f"{reference}: reads images of {facts.input.channels} channels, those of {data.name} have {data.channels}"
        )


def _listed(classes: tuple[str, ...]) -> str:
    return f"{len(classes)} classes ({', '.join(classes[:3])}{', ...' if len(classes) > 3 else ''})"
