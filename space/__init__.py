"""What a network is: points, spaces of points, and the networks they build.

A point is an `Architecture`, a frozen value that fixes a network's function; a `DesignSpace` is the same shape with
choices standing in it. `build` turns a point into an `nn.Module`, `cost` tells what it costs without building it,
`named` gives the published ones.
"""

from __future__ import annotations

from space.discover import discover

for _where in (
    "space.stems",
    "space.downsamples",
    "space.heads",
    "space.norms",
    "space.gates",
    "space.mixers",
    "space.channel_mixers",
):
    discover(_where)  # before any type is built: families are sealed at first use

# ruff: noqa: E402
from space.arch import Architecture, Block, Stage
from space.build import Network, build
from space.choice import FloatRange, IntRange, OneOf
from space.cost import Cost
from space.counting import cost
from space.describe import describe
from space.design import DesignSpace
from space.errors import NasError, NotInSpace, SpaceError
from space.features import FeatureInfo, FeatureNetwork
from space.named import NamedModel, Published, load_published, model_names, named
from space.proxy import Proxy
from space.size import Size
from space.source import json_schema, presets, read_architecture

__all__ = [
    "Architecture",
    "Block",
    "Cost",
    "DesignSpace",
    "FeatureInfo",
    "FeatureNetwork",
    "FloatRange",
    "IntRange",
    "NamedModel",
    "NasError",
    "Network",
    "NotInSpace",
    "OneOf",
    "Proxy",
    "Published",
    "Size",
    "SpaceError",
    "Stage",
    "build",
    "cost",
    "describe",
    "json_schema",
    "load_published",
    "model_names",
    "named",
    "presets",
    "read_architecture",
]
