"""A network taken apart: its fields by place, its parts with their costs, its drawing, and how two networks differ."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from nas.figures.architecture import ArchitectureDrawing, StageDrawing
from space import Architecture, Cost, Stage
from space.counting import block_cost, cost
from space.named import model_names, named
from space.spec import Spec


@dataclass(frozen=True)
class Difference:
    """A place where two networks differ."""

    place: str
    here: str
    there: str


def words(spec: Spec) -> str:
    """Return a spec in words: its kind, then the fields that are not at their defaults."""
    fields = spec.model_dump(mode="json", exclude_defaults=True)
    kind = fields.pop("kind", type(spec).__name__.lower())
    parts = [f"{name} {_plain(value)}" for name, value in fields.items()]
    return f"{kind} ({', '.join(parts)})" if parts else str(kind)


def _plain(value: object) -> str:
    if isinstance(value, dict):
        inner = [_plain(item) if name == "kind" else f"{name} {_plain(item)}" for name, item in value.items()]
        return " ".join(inner)
    if isinstance(value, list):
        return "-".join(map(_plain, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def places(arch: Architecture) -> dict[str, str]:
    """Return every field of a network by its place, in the order of the data's way."""
    arch = arch.canonical()
    found = {"stem": words(arch.stem)}
    for index, stage in enumerate(arch.stages, start=1):
        found |= {f"stage {index} {name}": value for name, value in _stage_fields(stage).items()}
        if index == 1:
            del found["stage 1 downsampling"]
    return found | {"head": words(arch.head), "init": str(arch.init), "input channels": str(arch.in_channels)}


def _stage_fields(stage: Stage) -> dict[str, str]:
    def each(name: str) -> str:
        values = (getattr(block, name) for block in stage.pattern)
        return " + ".join(dict.fromkeys(words(v) if isinstance(v, Spec) else _plain(v) for v in values))

    return {
        "downsampling": words(stage.downsample),
        "channels": str(stage.width),
        "blocks": str(stage.depth),
        "wiring": each("wiring"),
        "token mixer": each("token_mixer"),
        "channel mixer": each("channel_mixer"),
        "norm": f"{each('norm')}, {each('norm_at')}",
        "layer scale": each("layer_scale"),
        "squeeze-and-excitation": each("squeeze_excite"),
        "closing norm": words(stage.norm),
    }


def differences(here: Mapping[str, str], there: Mapping[str, str]) -> list[Difference]:
    """Return the places where two networks differ; what one of them lacks is '-'."""
    both = dict.fromkeys([*here, *there])
    pairs = ((place, here.get(place, "-"), there.get(place, "-")) for place in both)
    return [Difference(place, mine, other) for place, mine, other in pairs if mine != other]


def distance(here: Mapping[str, str], there: Mapping[str, str]) -> float:
    """Return how far two networks are apart, in [0, 1]: the mean over all places.

    Numbers by the logarithm of their ratio (a factor of 8 is as far as can be), words by half where the kind is the
    same, places that one lacks in full.
    """
    both = dict.fromkeys([*here, *there])
    return sum(_gap(here.get(place), there.get(place)) for place in both) / len(both)


def _gap(a: str | None, b: str | None) -> float:
    if a is None or b is None:
        return 1.0
    if a == b:
        return 0.0
    if a.isdigit() and b.isdigit() and int(a) and int(b):
        return min(1.0, abs(math.log2(int(a) / int(b))) / 3)
    return 0.5 if a.split(" ")[0] == b.split(" ")[0] else 1.0


@lru_cache(maxsize=1)
def _named_places() -> dict[str, dict[str, str]]:
    return {name: places(named(name).arch) for name in model_names()}


def nearest_model(arch: Architecture) -> tuple[str, list[Difference]]:
    """Return the named model that is least far away, and where this network differs from it."""
    mine = places(arch)
    name, theirs = min(_named_places().items(), key=lambda item: distance(mine, item[1]))
    return name, differences(mine, theirs)


def part_costs(arch: Architecture, resolution: int) -> dict[str, Cost]:
    """Return the cost of stem, stages (each with what leads into it) and head; they add up to that of the network.

    Raises SpaceError where the network cannot run at that resolution.
    """
    arch = arch.fitted(resolution)
    sizes = arch.sizes(resolution)
    parts = {"stem": arch.stem.cost(arch.in_channels, arch.stages[0].width, (resolution, resolution))}
    for index, (stage, size) in enumerate(zip(arch.stages, sizes, strict=True)):
        total = stage.norm.cost(stage.width)
        if index:
            total += stage.downsample.cost(arch.stages[index - 1].width, stage.width, sizes[index - 1])
        for block in stage.blocks():
            total += block_cost(block, stage.width, size)
        parts[f"stage {index + 1}"] = total
    whole, rest = cost(arch, resolution), sum(parts.values(), Cost())
    head = Cost(*(a - b for a, b in zip(whole, rest, strict=True)))
    return parts | {"head": head}


def drawing(arch: Architecture, name: str, resolution: int) -> ArchitectureDrawing:
    """Return a network as it is drawn. Raises SpaceError where it cannot run at that resolution."""
    stages = tuple(
        _drawn(stage, index, size)
        for index, (stage, size) in enumerate(zip(arch.stages, arch.sizes(resolution), strict=True))
    )
    return ArchitectureDrawing(name, resolution, words(arch.stem), words(arch.head), stages)


def _drawn(stage: Stage, index: int, size: tuple[int, int]) -> StageDrawing:
    mixers = dict.fromkeys(block.token_mixer.kind for block in stage.pattern)
    gates = dict.fromkeys(
        gate.kind
        for block in stage.pattern
        if (gate := getattr(block.token_mixer, "gate", None)) is not None and hasattr(gate, "kind")
    )
    fields = [f"{key}: {value}" for key, value in _stage_fields(stage).items() if index or key != "downsampling"]
    return StageDrawing(
        f"stage {index + 1}", stage.width, size, stage.depth, tuple(mixers), tuple(gates), tuple(fields)
    )
