"""Published networks by name: the point, its source, its published figures, and how its published weights load.

Each module of `space.models` holds one family and lists it in `MODELS`; nothing is listed here. A model published at a
further input size is a model of its own under `<name>_img<size>`: the same function, other figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from typing import cast

from torch import Tensor, nn

from space.arch import Architecture, Block, Stage
from space.discover import discover
from space.downsamples import NoDownsample
from space.errors import NasError, nearest
from space.families import Downsample
from space.keys import KeyFormat, load


@dataclass(frozen=True)
class Published:
    """One published result of a network."""

    params_m: float
    """Parameters in millions."""
    macs_g: float | None
    """Multiply-accumulates of one image in billions (sources often call them FLOPs); None where the source has none."""
    top1: float
    """ImageNet-1K accuracy in percent."""
    input: int
    """Side of the images in pixels."""
    pretrain: str
    """Images seen before or instead of supervised ImageNet-1K training."""
    source: str


@dataclass(frozen=True)
class NamedModel:
    """A published network."""

    name: str
    family: str
    arch: Architecture
    source: str
    """The public code that the point agrees with."""
    formats: tuple[KeyFormat, ...]
    """Layouts in which its weights are published."""
    resolution: int = 224
    """Side of the images in pixels."""
    drop_path: float = 0.0
    """Stochastic-depth rate of the last block in supervised training at 224 px; 0 where the source gives none."""
    head_dropout: float = 0.0
    """Dropout before the last linear layer in the same training."""
    published: tuple[Published, ...] = ()
    """Published results at `resolution`."""


Figures = tuple[float, float | None, float, int, str]
"""Parameters in M, MACs in G if given, top-1 in %, input in px, images seen before."""


def figures(source: str, rows: Mapping[str, Sequence[Figures]]) -> dict[str, tuple[Published, ...]]:
    """Return published results by model name."""
    return {name: tuple(Published(*row, source) for row in results) for name, results in rows.items()}


def pyramid(
    widths: Sequence[int], depths: Sequence[int], blocks: Sequence[Block], downsample: Downsample
) -> tuple[Stage, ...]:
    """Return stages of equal blocks, one width, depth and block each, with `downsample` between them."""
    rows = enumerate(zip(widths, depths, blocks, strict=True))
    return tuple(
        Stage(width=width, depth=depth, pattern=(block,), downsample=downsample if index else NoDownsample())
        for index, (width, depth, block) in rows
    )


def _by_input(model: NamedModel) -> list[NamedModel]:
    """Return the model with its figures at its own resolution, and one model for each other input size published."""
    sizes = [model.resolution, *sorted({p.input for p in model.published} - {model.resolution})]
    return [
        replace(
            model,
            name=model.name if size == model.resolution else f"{model.name}_img{size}",
            resolution=size,
            published=tuple(p for p in model.published if p.input == size),
        )
        for size in sizes
    ]


@cache
def _registry() -> dict[str, NamedModel]:
    known: dict[str, NamedModel] = {}
    for module in discover("space.models"):
        for entry in cast("tuple[NamedModel, ...]", import_module(module).MODELS):
            for model in _by_input(entry):
                if model.name in known:
                    raise TypeError(
                        f"{module}: the model name {model.name!r} is already taken by {known[model.name].source}"
                    )
                known[model.name] = model
    return known


def model_names() -> list[str]:
    """Return the names of all published networks, in alphabetical order."""
    return sorted(_registry())


def named(name: str) -> NamedModel:
    """Return the published network of that name. Raises NasError for an unknown one.

    `<name>_384` means `<name>_img384`. `<name>_timm` means `<name>`, whose weights load in timm's layout too, unless
    timm's network is another function and so has a name of its own.
    """
    known = _registry()
    plain = name.removesuffix("_timm")
    stem, _, size = plain.rpartition("_")
    for candidate in (name, f"{stem}_img{size}", plain):
        if candidate in known:
            return known[candidate]
    raise NasError(
        f"model: unknown name {name!r}, known are the {len(known)} of `nas models list`{nearest(name, known)}"
    )


def load_published(model: nn.Module, name: str, state: Mapping[str, Tensor]) -> str:
    """Load a published state dict of the named network into `model`, strictly both ways, and return its layout.

    `model` was built from the point of that name, or from one that differs in classes only. The layout, "authors" or
    "timm", is recognised from the keys. A model on the meta device takes the tensors themselves, with their dtype.
    Raises NasError where keys are missing or unexpected or shapes differ; the model is untouched then.
    """
    entry = named(name)
    return load(model, entry.name, entry.formats, state)
