"""Settle a full training before it starts: which network, on what, how long, where to."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import torch

from nas.checkpoint import SUFFIX
from nas.facts import Origin
from nas.reference import Resolved, resolve
from nas.training_folder import TrainingFolder
from space import Architecture, NasError, cost
from trials.data import ImageData, load_data
from trials.rows import TrialRow
from trials.store import Store
from trials.training import FULL_RECIPE, Recipe

NETWORK = f"network{SUFFIX}"
"""The trained network in its training folder."""


@dataclass(frozen=True)
class TrainingPlan:
    """All that a training will be, before it starts."""

    origin: Origin
    arch: Architecture
    """The point, fitted to the classes, channels and resolution of the data."""
    data: ImageData
    data_seed: int
    recipe: Recipe
    """With its number of epochs settled."""
    seed: int
    device: str
    threads: int
    folder: Path
    key: str
    """Hash of all that decides the training; names the folder."""
    trial: TrialRow | None
    """The trial the point was tried in, if any."""

    @property
    def checkpoint(self) -> Path:
        """Where the trained network will be."""
        return self.folder / NETWORK

    @property
    def progress(self) -> Path:
        """What an interrupted training goes on from."""
        return self.folder / "training.pt"

    @property
    def epochs(self) -> int:
        """Passes over the training images."""
        return self.recipe.epochs or 0

    @property
    def exchanges(self) -> int:
        """How often a sparse training exchanges weights."""
        sparsity = self.recipe.sparsity
        return sparsity.exchanges(self.epochs * self.recipe.epoch_steps(len(self.data.train))) if sparsity else 0

    @property
    def state(self) -> str:
        """Return `new`, `started` (to be resumed) or `finished` (nothing is left to do)."""
        return "finished" if self.checkpoint.exists() else "started" if self.progress.exists() else "new"


def plan_training(
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
) -> TrainingPlan:
    """Settle what to train, on what, how long and where to.

    data:        see `trials.data`; None: that of the trial's study, else digits.
    reference:   see `nas.reference`; its point takes the classes and channels of the data.
    epochs:      passes over the training images; None: the recipe's, by the size of the data.
    out:         folder of the training; None: one under `store.root`, the same for the same training.
    resolution:  side of the images in pixels; None: the study's own if it trained full networks on
                 this data, else that of the data.
    recipe:      how to train; its `sparsity` makes the training sparse.
    threads:     None: all cores.   device: None: CUDA where there is one.
    A trial of a study keeps the study's split, so that test images are ones its search has not seen.
    Raises:      NasError: unknown reference or data, a network that does not fit the images, another training in `out`.
    """
    found = resolve(reference, store)
    spec = data or _default_data(found)
    data_seed = _data_seed(found)
    images = load_data(spec, resolution=resolution or _study_resolution(found, spec), seed=data_seed)
    arch = adapted(found.arch, images)
    settled = _with_epochs(recipe, epochs).for_data(len(images.train))
    key = _key(arch, images, settled, seed)
    folder = out or store.root / "trained" / f"{_label(found.origin.name)}-{_label(images.name)}-{key}"
    plan = TrainingPlan(
        origin=found.origin,
        arch=arch,
        data=images,
        data_seed=data_seed,
        recipe=settled,
        seed=seed,
        device=device or default_device(),
        threads=threads or torch.get_num_threads(),
        folder=folder,
        key=key,
        trial=found.trial,
    )
    device_named(plan.device)
    TrainingFolder(folder, key).check()
    return plan


def adapted(arch: Architecture, data: ImageData) -> Architecture:
    """Return the point with the classes and channels of the data, fitted to its resolution.

    Raises:  SpaceError where it cannot run on images of that size.
    """
    own = arch.model_copy(update={"classes": len(data.classes), "in_channels": data.channels})
    fitted = own.fitted(data.resolution)
    cost(fitted, data.resolution)
    return fitted


def default_device() -> str:
    """Return `cuda` where there is one, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def device_named(name: str) -> torch.device:
    """Return the device. Raises NasError where there is no such device here."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        why = str(error).splitlines()[0]
        raise NasError(f"device {name!r}: cannot be used here: {why}") from None
    return device


def _with_epochs(recipe: Recipe, epochs: int | None) -> Recipe:
    if epochs is not None and not 1 <= epochs <= 100_000:
        raise NasError(f"epochs: {epochs}, allowed: 1 to 100000")
    return recipe if epochs is None else recipe.model_copy(update={"epochs": epochs})


def _default_data(found: Resolved) -> str:
    return str(found.study.config.get("data", "digits")) if found.study else "digits"


def _data_seed(found: Resolved) -> int:
    return int(found.study.config.get("data_seed", 0)) if found.study else 0


def _study_resolution(found: Resolved, data: str) -> int | None:
    config = found.study.config if found.study else {}
    same = _place(str(config.get("data"))) == _place(data)
    return config.get("resolution") if same and config.get("train_as") == "full" else None


def _place(data: str) -> str:
    """Return a folder however it was spelled as one path; words stay as they are."""
    path = Path(data).expanduser()
    return str(path.resolve()) if path.is_dir() else data


def _key(arch: Architecture, data: ImageData, recipe: Recipe, seed: int) -> str:
    parts = (arch.id, data.fingerprint, data.resolution, recipe.model_dump_json(), seed)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:8]


def _label(name: str) -> str:
    """Return the name as a part of a folder's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[-60:] or "network"
