"""What a page is given and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nas.dashboard.address import Address
from nas.dashboard.queries import Queries
from nas.dashboard.table import Table


@dataclass(frozen=True)
class Look:
    """How the visitor looks at it."""

    dark: bool = False
    narrow: bool = False


@dataclass(frozen=True)
class View:
    """A page to draw: where it is, from what, for whom."""

    queries: Queries
    address: Address
    look: Look = Look()

    @property
    def studies(self) -> list[str]:
        """Names of the studies to show: those of the address, else the newest."""
        chosen = self.address.all("study")
        if not chosen:
            chosen = [summary.name for summary in self.queries.studies()[:1]]
        return chosen[:5]


@dataclass(frozen=True)
class Page:
    """A page: its title and its parts."""

    title: str
    parts: Sequence[Any] = field(default_factory=list[Any])


Draw = Callable[[View], Page]
Tables = Mapping[str, Callable[[View], Table]]
"""The tables of a page by name, each whole; the page shows a part of it."""
