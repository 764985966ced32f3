"""What a warm start is asked for, and what it came to: values that are stored with the study."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from space.errors import NasError

_TEXT = re.compile(r"proxy:([a-z][a-z0-9_]*)(?::([0-9]+))?")
MOST = 100_000


class WarmStart(BaseModel):
    """Score so many random points by a zero-cost proxy, and train the best first."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    proxy: str
    points: Annotated[int, Field(ge=2, le=MOST)] = 1000

    @classmethod
    def parse(cls, text: str) -> WarmStart:
        """Read `proxy:naswot` or `proxy:naswot:1000`.

        Raises:  NasError where the text is none of these, or the number of points is out of range.
        """
        found = _TEXT.fullmatch(text.strip())
        if found is None:
            raise NasError(f"warm start {text!r}: expected proxy:NAME or proxy:NAME:POINTS, as in proxy:naswot:1000")
        name, points = found.groups()
        if points is None:
            return cls(proxy=name)
        if not 2 <= int(points) <= MOST:
            raise NasError(f"warm start {text!r}: {points} points, allowed: 2 to {MOST}")
        return cls(proxy=name, points=int(points))

    def __str__(self) -> str:
        """Return the text that `parse` reads."""
        return f"proxy:{self.proxy}:{self.points}"


class WarmPoints(BaseModel):
    """What a warm start came to; a resumed search trains the same points."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    scored: int
    """Points that have a score."""
    failures: dict[str, int] = Field(default_factory=dict)
    """Why others have none, and how many."""
    chosen: tuple[str, ...] = ()
    """The points to train first, as JSON, best first."""
    scores: tuple[dict[str, float], ...] = ()
    """The proxy's metrics of each."""
