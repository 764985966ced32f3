"""What a search wants (objectives) and what it must not exceed (limits), as a user writes them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from space.errors import NasError, explain, nearest
from trials.measurement import METRICS

LIMITED = ("params", "macs", "activations", "latency_ms")
"""Metrics that are known before any training, hence may be limited."""
COUNTED = ("params", "macs", "activations")
"""Metrics that follow from the architecture alone, without running it."""
SUFFIXES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}

_LIMIT = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*(<=|>=)\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z]*)\s*")


class ObjectiveError(NasError):
    """An objective or a limit cannot be read, or contradicts another."""


class Objective(BaseModel):
    """A metric and the direction in which it is better."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str
    better: Literal["max", "min"]

    @classmethod
    def parse(cls, text: str) -> Objective:
        """Read `accuracy:max`; the direction may be left out where the metric has a natural one.

        Raises:  ObjectiveError naming the known metrics and the nearest word.
        """
        name, colon, direction = (part.strip() for part in text.partition(":"))
        if name not in METRICS:
            raise ObjectiveError(
                f"objective {text!r}: unknown metric {name!r}, known: {', '.join(METRICS)}{nearest(name, METRICS)}"
            )
        if not colon:
            return cls(metric=name, better=METRICS[name].better)
        if direction == "max":
            return cls(metric=name, better="max")
        if direction == "min":
            return cls(metric=name, better="min")
        raise ObjectiveError(
            f"objective {text!r}: direction {direction!r}, allowed: max, min{nearest(direction, ('max', 'min'))}"
        )

    def __str__(self) -> str:
        """Return the text that `parse` reads."""
        return f"{self.metric}:{self.better}"


class Limit(BaseModel):
    """A bound on a metric that is known before training; it always holds for the full-size network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str
    side: Literal["<=", ">="]
    bound: float

    @classmethod
    def parse(cls, text: str) -> Limit:
        """Read `params<=5M`, `latency_ms<=20`; suffixes k, M and G multiply by 1e3, 1e6 and 1e9.

        Raises:  ObjectiveError where the text is no limit, or on a metric that is known only after training.
        """
        found = _LIMIT.fullmatch(text)
        if found is None:
            raise ObjectiveError(f"limit {text!r}: expected METRIC<=NUMBER or METRIC>=NUMBER, as in 'params<=5M'")
        name, side, number, suffix = found.groups()
        if name not in LIMITED:
            why = "known only after training" if name in METRICS else "unknown metric"
            raise ObjectiveError(
                f"limit {text!r}: {name!r} is {why}, allowed: {', '.join(LIMITED)}{nearest(name, LIMITED)}"
            )
        if suffix not in SUFFIXES:
            raise ObjectiveError(f"limit {text!r}: unknown suffix {suffix!r}, allowed: k (1e3), M (1e6), G (1e9)")
        bound = float(number) * SUFFIXES[suffix]
        if not (0 < bound < math.inf):
            raise ObjectiveError(f"limit {text!r}: the bound is {bound:g}, a finite number above 0 is needed")
        return cls(metric=name, side="<=" if side == "<=" else ">=", bound=bound)

    def excess(self, value: float) -> float:
        """Return 0 inside the limit, else the factor by which it is missed, less 1 (0.5 = half as much again)."""
        ratio = value / self.bound if self.side == "<=" else self.bound / max(value, self.bound * 1e-12)
        return max(0.0, ratio - 1.0)

    def __str__(self) -> str:
        """Return the text that `parse` reads."""
        for suffix in ("G", "M", "k"):
            if self.bound >= SUFFIXES[suffix]:
                return f"{self.metric}{self.side}{self.bound / SUFFIXES[suffix]:.12g}{suffix}"
        return f"{self.metric}{self.side}{self.bound:.12g}"


DEFAULT_OBJECTIVES = (Objective(metric="accuracy", better="max"), Objective(metric="macs", better="min"))
"""Accuracy against MACs: MACs see depth, width and resolution alike, parameters miss the resolution."""


def objectives_in(config: Mapping[str, Any]) -> tuple[Objective, ...]:
    """Return the objectives of a study's stored settings.

    Raises:  ObjectiveError naming what cannot be read.
    """
    items = config.get("objectives") or DEFAULT_OBJECTIVES
    try:
        return tuple(
            Objective.parse(each) if isinstance(each, str) else Objective.model_validate(each) for each in items
        )
    except ValidationError as error:
        raise ObjectiveError(f"objectives: {'; '.join(explain(error, items))}") from None


def violation(limits: Iterable[Limit], values: Mapping[str, float]) -> float:
    """Return 0 where every limit on a given value holds, else the sum of the excesses; absent values are not judged."""
    return sum(limit.excess(values[limit.metric]) for limit in limits if limit.metric in values)


def violated(limits: Iterable[Limit], values: Mapping[str, float]) -> str:
    """Return the violated limits in words, as in `params 7,340,032 > 5,000,000`; empty where all hold."""
    found = [limit for limit in limits if limit.metric in values and limit.excess(values[limit.metric]) > 0]
    return "; ".join(
        f"{limit.metric} {values[limit.metric]:,.6g} {'>' if limit.side == '<=' else '<'} {limit.bound:,.6g}"
        if limit.metric == "latency_ms"
        else f"{limit.metric} {values[limit.metric]:,.0f} {'>' if limit.side == '<=' else '<'} {limit.bound:,.0f}"
        for limit in found
    )


def check(objectives: Sequence[Objective], limits: Sequence[Limit]) -> None:
    """Refuse repeated objectives and limits that exclude each other.

    Raises:  ObjectiveError.
    """
    if not objectives:
        raise ObjectiveError("objectives: none given, at least one is needed, as in 'accuracy:max'")
    names = [objective.metric for objective in objectives]
    for name in names:
        if names.count(name) > 1:
            raise ObjectiveError(f"objectives: {name!r} stands {names.count(name)} times, once is allowed")
    for upper in limits:
        for lower in limits:
            if (upper.metric, upper.side, lower.side) == (lower.metric, "<=", ">=") and lower.bound > upper.bound:
                raise ObjectiveError(f"limits: {upper} and {lower} exclude each other, no network can meet both")


def vector(objectives: Sequence[Objective], values: Mapping[str, float]) -> tuple[float, ...] | None:
    """Return the values in the order of the objectives, or None where one is absent or not finite."""
    found = [values.get(objective.metric, math.nan) for objective in objectives]
    return tuple(found) if all(math.isfinite(value) for value in found) else None
