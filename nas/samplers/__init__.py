"""Samplers by name: each module of this package holds one, as `SAMPLER`; its name is the module's."""

from __future__ import annotations

import importlib
import pkgutil

from nas.sampler import Sampler
from space.errors import NasError, nearest

__all__ = ["Sampler", "sampler", "sampler_names"]


def sampler_names() -> list[str]:
    """Return the names of all samplers, without importing them."""
    return sorted(info.name for info in pkgutil.iter_modules(__path__))


def sampler(name: str) -> Sampler:
    """Return the sampler of this name. Raises NasError naming the nearest."""
    known = sampler_names()
    if name not in known:
        raise NasError(f"sampler: {name!r} is unknown, known: {', '.join(known)}{nearest(name, known)}")
    found: Sampler = importlib.import_module(f"nas.samplers.{name}").SAMPLER
    return found
