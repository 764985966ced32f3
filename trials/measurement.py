"""A measured number with its circumstances, and the metrics that exist."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "ratio", "max"),
        Metric("loss", "nats", "min"),
        Metric("params", "count", "min"),
        Metric("macs", "count", "min"),
        Metric("activations", "count", "min"),
        Metric("latency_ms", "ms", "min"),
    )
}
"""Every metric by name: top-1 accuracy in [0, 1], cross-entropy, and what a network costs."""


def metric(name: str) -> Metric:
    """Return the metric called `name`. Raises NasError with the nearest name."""
    if name not in METRICS:
        raise NasError(f"metric: {name!r} is unknown, known: {', '.join(METRICS)}{nearest(name, METRICS)}")
    return METRICS[name]
