"""Why trials came to nothing: reasons that differ only in numbers are one reason."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NUMBER = re.compile(r"\d[\d,.]*(?:e[+-]?\d+)?")
STATES_WITH_CAUSE = ("failed", "infeasible", "duplicate", "stopped")


@dataclass(frozen=True)
class Cause:
    """Why trials came to nothing: trials whose reasons differ only in numbers are counted together."""

    state: str
    reason: str
    """The reason of the first of them, as stored."""
    count: int
    first: int
    """Number of the first of them."""


def alike(reason: str | None) -> str:
    """Return the reason with its numbers struck out."""
    return _NUMBER.sub("#", reason or "")


class Causes:
    """Counts reasons as trials come in."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Cause] = {}

    def take(self, state: str, reason: str | None, number: int) -> None:
        """Count a trial if it came to nothing; to be called once a trial."""
        if state not in STATES_WITH_CAUSE:
            return
        key = (state, alike(reason))
        known = self._found.get(key)
        if known is None:
            self._found[key] = Cause(state, reason or "no reason stored", 1, number)
        else:
            self._found[key] = Cause(state, known.reason, known.count + 1, known.first)

    def all(self) -> list[Cause]:
        """Return the causes, the most frequent first."""
        return sorted(self._found.values(), key=lambda cause: -cause.count)
