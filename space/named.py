"""Published networks by name: the point, its source, its published figures, and how its published weights load.

Each module of `space.models` holds one family and lists it in `MODELS`; nothing is listed here. A model published at a
further input size is a model of its own under `<name>_img<size>`: the same function, other figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from typing import Literal, NamedTuple, cast

from torch import Tensor, nn

from space.arch import Architecture, Block, Stage
from space.build import Network, on_meta
from space.counting import cost, published_flops
from space.discover import discover
from space.downsamples import NoDownsample
from space.errors import NasError, nearest
from space.families import Downsample, Norm
from space.keys import KeyFormat, load
from space.norms import NoNorm

PLAIN = "IN-1K"
"""Supervised training on ImageNet-1K from initial weights and nothing else."""

Form = Literal["training", "merged"]
"""A network as it is trained, or with branches and norms merged for use (`Architecture.merged`)."""


@dataclass(frozen=True)
class Published:
    """One published result of a network."""

    params_m: float
    """Parameters in millions."""
    macs_g: float | None
    """Multiply-accumulates of one image in billions (sources often call them FLOPs), or what the source counts by a
    rule of its own (`space.flop_rule`); None where not given."""
    top1: float | None
    """ImageNet-1K accuracy in percent; None where not given."""
    input: int
    """Side of the images in pixels."""
    pretrain: str
    """What the weights come from; `PLAIN` where that is labelled ImageNet-1K images alone."""
    source: str
    classes: int = 1000
    """Classes of the head that parameters and MACs were counted with."""
    sparsity: float = 0.0
    """Share of the weights of two and more dimensions that are 0; parameters and MACs count the others only."""


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
    inputs: tuple[int, ...] = ()
    """Further sides of images that weights are published for without results."""
    published_form: Form = "training"
    """The form whose parameters and MACs they count: `arch`, or `arch.merged()`."""


class Recounted(NamedTuple):
    """What this project counts where a source published a figure: the same form, head, share of zeros and rule."""

    params: float
    flops: float
    """MACs, or more by the published rule; the zeros of a sparse network count as if spread evenly."""
    deviation: float | None
    """Of `flops` from the published figure, in percent of that; None where nothing was published."""


def recounted(model: NamedModel, figure: Published) -> Recounted:
    """Return parameters and MACs of a network under the terms of one of its published results."""
    form = model.arch.merged() if model.published_form == "merged" else model.arch
    arch = form.model_copy(update={"classes": figure.classes})
    counts, ruled = cost(arch, figure.input), published_flops(arch, figure.input)
    zeros = figure.sparsity * sum(p.numel() for p in on_meta(arch).parameters() if p.ndim > 1) if figure.sparsity else 0
    flops = (counts.macs if ruled is None else ruled.flops) * (1 - figure.sparsity)
    deviation = None if figure.macs_g is None else 100 * (flops / (1e9 * figure.macs_g) - 1)
    return Recounted(counts.params - zeros, flops, deviation)


Figures = tuple[float, float | None, float | None, int, str]
"""Parameters in M, MACs in G, top-1 in %, input in px, images seen before; None: not given."""


def figures(
    source: str, rows: Mapping[str, Sequence[Figures]], *, classes: int = 1000, sparsity: float = 0.0
) -> dict[str, tuple[Published, ...]]:
    """Return published results by model name, of networks with that many classes and that share of zeros."""
    return {
        name: tuple(Published(*row, source, classes=classes, sparsity=sparsity) for row in results)
        for name, results in rows.items()
    }


def pyramid(
    widths: Sequence[int],
    depths: Sequence[int],
    blocks: Sequence[Block],
    downsample: Downsample,
    norm: Norm | None = None,
) -> tuple[Stage, ...]:
    """Return stages of equal blocks, one width, depth and block each, `downsample` between them, `norm` after each."""
    rows = enumerate(zip(widths, depths, blocks, strict=True))
    return tuple(
        Stage(
            width=width,
            depth=depth,
            pattern=(block,),
            downsample=downsample if index else NoDownsample(),
            norm=norm or NoNorm(),
        )
        for index, (width, depth, block) in rows
    )


def _by_input(model: NamedModel) -> list[NamedModel]:
    """Return the model with its figures at its own resolution, and one model for each other input size published."""
    further = {p.input for p in model.published}.union(model.inputs) - {model.resolution}
    base = model.name.removesuffix("_timm")
    suffix = model.name.removeprefix(base)
    return [
        replace(
            model,
            name=model.name if size == model.resolution else f"{base}_img{size}{suffix}",
            resolution=size,
            published=tuple(p for p in model.published if p.input == size),
            inputs=(),
        )
        for size in [model.resolution, *sorted(further)]
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

    `<name>_384` means `<name>_img384`, and `<name>` where it was published at that size first. `<name>_timm` means
    `<name>`, whose weights load in timm's layout too, unless timm's network is another function and so has a name of
    its own.
    """
    known = _registry()
    plain = name.removesuffix("_timm")
    stem, _, size = plain.rpartition("_")
    timm = name.removeprefix(plain)
    for candidate in (name, f"{stem}_img{size}{timm}", f"{stem}_img{size}", plain):
        if candidate in known:
            return known[candidate]
    for candidate in (f"{stem}{timm}", stem):
        if candidate in known and size.removeprefix("img") == str(known[candidate].resolution):
            return known[candidate]
    raise NasError(
        f"model: unknown name {name!r}, known are the {len(known)} of `nas models list`{nearest(name, known)}"
    )


def load_published(model: nn.Module, name: str, state: Mapping[str, Tensor]) -> str:
    """Load a published state dict of the named network into `model`, strictly both ways, and return its layout.

    `model` was built from the point of that name, its merged form (`arch.merged()`), or one that differs in classes
    only. The layout is recognised from the keys: "authors", "timm", or "authors-merged" for weights published after
    structural re-parameterisation, which belong to the merged form. A model on the meta device takes the tensors
    themselves, with their dtype.
    Raises NasError where keys are missing or unexpected or shapes differ; the model is untouched then.
    """
    entry = named(name)
    try:
        return load(model, entry.name, entry.formats, state)
    except NasError:
        if (form := _form_of(entry, state, model)) is None:
            raise
    raise NasError(
        f"{entry.name}: the weights are those of the {form} form, the model is not; "
        + ("build the network of `arch.merged()` for them" if form == "merged" else "load them before `reparameterize`")
    )


def _form_of(entry: NamedModel, state: Mapping[str, Tensor], model: nn.Module) -> Form | None:
    """Return the form whose weights `state` holds, where `model` has the other one."""
    if not isinstance(model, Network):
        return None
    arch, training = model.architecture, entry.arch.model_copy(update={"classes": model.architecture.classes})
    merged = training.merged()
    if merged == training or arch not in (training, merged):
        return None
    other: Form = "merged" if arch == training else "training"
    with suppress(NasError):
        load(on_meta(merged if arch == training else training), entry.name, entry.formats, state)
        return other
    return None
