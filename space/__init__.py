"""What a network is: points, spaces of points, and the networks they build.

A point is an `Architecture`, a frozen value that fixes a network's function; a `DesignSpace` is the same shape with
choices standing in it. `build` turns a point into an `nn.Module`, `cost` tells what it costs without building it,
`named` gives the published ones.

Names are imported on first use: whoever reads a store needs our errors and not PyTorch, which takes seconds to import.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    from space.sequence import SequenceModel, load_sequence
    from space.size import Size
    from space.source import json_schema, presets, read_architecture

_HOME = {
    "Architecture": "arch",
    "Block": "arch",
    "Cost": "cost",
    "DesignSpace": "design",
    "FeatureInfo": "features",
    "FeatureNetwork": "features",
    "FloatRange": "choice",
    "IntRange": "choice",
    "NamedModel": "named",
    "NasError": "errors",
    "Network": "build",
    "NotInSpace": "errors",
    "OneOf": "choice",
    "Proxy": "proxy",
    "Published": "named",
    "SequenceModel": "sequence",
    "Size": "size",
    "SpaceError": "errors",
    "Stage": "arch",
    "build": "build",
    "cost": "counting",
    "describe": "describe",
    "json_schema": "source",
    "load_published": "named",
    "load_sequence": "sequence",
    "model_names": "named",
    "named": "named",
    "presets": "source",
    "read_architecture": "source",
}

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
    "SequenceModel",
    "Size",
    "SpaceError",
    "Stage",
    "build",
    "cost",
    "describe",
    "json_schema",
    "load_published",
    "load_sequence",
    "model_names",
    "named",
    "presets",
    "read_architecture",
]


def __getattr__(name: str) -> Any:
    """Import the module that holds `name`."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"space.{_HOME[name]}"), name)
    return found


class _Package(ModuleType):
    """`space.build`, `cost`, `describe` and `named` are functions, though files bear these names as well."""

    def __setattr__(self, name: str, value: object) -> None:
        """Keep the import system from putting a file in the place of the function of its name."""
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
