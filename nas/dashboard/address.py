"""Where a page is: path and query. All that a view shows follows from it, so every view can be linked to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlencode

from space.errors import NasError


@dataclass(frozen=True)
class Address:
    """A path with its query, both decoded."""

    path: tuple[str, ...] = ()
    query: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, pathname: str | None, search: str | None) -> Address:
        """Read what a browser has in its address bar."""
        from urllib.parse import unquote

        path = tuple(unquote(part) for part in (pathname or "/").split("/") if part)
        return cls(path, tuple(parse_qsl((search or "").removeprefix("?"), max_num_fields=200)))

    @property
    def page(self) -> str:
        """The first part of the path, which names the page."""
        return self.path[0] if self.path else "studies"

    def get(self, name: str, default: str = "") -> str:
        """Return the last value of a field."""
        return next((value for key, value in reversed(self.query) if key == name), default)

    def all(self, name: str) -> list[str]:
        """Return every value of a field, in order and once each."""
        return list(dict.fromkeys(value for key, value in self.query if key == name and value))

    def flag(self, name: str) -> bool:
        """Tell whether a field is set."""
        return self.get(name) == "1"

    def number(self, name: str) -> float | None:
        """Return a finite number, None where the field is absent. Raises NasError for anything else."""
        text = self.get(name)
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise NasError(f"address: {name}={text!r}, allowed: a number")
        return value

    def chosen(self, name: str, allowed: Sequence[str], default: str) -> str:
        """Return one of the allowed words. Raises NasError naming them for any other."""
        word = self.get(name, default)
        if word not in allowed and word != default:
            raise NasError(f"address: {name}={word!r}, allowed: {', '.join(allowed) or 'nothing'}")
        return word

    def changed(self, **fields: str | None) -> Address:
        """Return the address with these fields set; None removes one."""
        kept = tuple((key, value) for key, value in self.query if key not in fields)
        return Address(self.path, kept + tuple((key, value) for key, value in fields.items() if value))

    @property
    def search(self) -> str:
        """The query as it stands in a link, with its question mark; empty without fields."""
        return f"?{urlencode(self.query)}" if self.query else ""

    @property
    def href(self) -> str:
        """The address as a link within this site."""
        return "/" + "/".join(quote(part, safe="") for part in self.path) + self.search


def link(*path: object, **fields: object) -> str:
    """Return a link: its path, and the fields that are not empty; a list stands for a field several times."""
    query: list[tuple[str, str]] = []
    for key, value in fields.items():
        query += [(key, str(item)) for item in (value if isinstance(value, (list, tuple)) else [value]) if item]
    return Address(tuple(map(str, path)), tuple(query)).href
