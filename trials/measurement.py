"""A measured number with its circumstances, and the metrics that exist."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pkgutil import iter_modules
from typing import Literal

from space.errors import NasError, nearest


@dataclass(frozen=True, slots=True)
class Metric:
    """What can be measured of a network: its name, its unit, and which way is better."""

    name: str
    unit: str
    better: Literal["max", "min"]


@dataclass(frozen=True, slots=True)
class Measured:
    """One finite number, in `unit`, with its spread in the same unit and the circumstances it holds under."""

    value: float
    unit: str
    spread: float | None = None
    circumstances: Mapping[str, str | int | float] = field(default_factory=dict[str, str | int | float])


class Metrics(Mapping[str, Metric]):
    """Metrics by name: those that are known here, and those of the zero-cost proxies, found on first need.

    A proxy's metrics begin with its name, so that for other names no proxy, nor PyTorch, is imported.
    """

    def __init__(self, *known: Metric) -> None:
        self._known = {each.name: each for each in known}

    def __getitem__(self, name: str) -> Metric:
        if name in self._known:
            return self._known[name]
        if not any(str(name).startswith(each.name) for each in iter_modules(import_module("trials.proxies").__path__)):
            raise KeyError(name)
        return self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    @cached_property
    def _all(self) -> Mapping[str, Metric]:
        from trials.zero_cost import scores  # its proxies need this module, and PyTorch

        return {name: Metric(name, "", "max") for name in scores()} | self._known


METRICS: Mapping[str, Metric] = Metrics(
    Metric("accuracy", "ratio", "max"),
    Metric("loss", "nats", "min"),
    Metric("params", "count", "min"),
    Metric("macs", "count", "min"),
    Metric("activations", "count", "min"),
    Metric("latency_ms", "ms", "min"),
)
"""Every metric by name: top-1 accuracy in [0, 1], cross-entropy, what a network costs, and the scores of proxies."""


def metric(name: str) -> Metric:
    """Return the metric called `name`. Raises NasError with the nearest name."""
    if name not in METRICS:
        raise NasError(f"metric: {name!r} is unknown, known: {', '.join(METRICS)}{nearest(name, METRICS)}")
    return METRICS[name]
