"""Tables: named columns with units, rows of plain values; as CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nas.quantities import duration, measured

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Column:
    """A column: its name, and the unit of its numbers."""

    name: str
    unit: str = ""
    long: bool = False
    """Whether its words may wrap."""


@dataclass(frozen=True)
class Table:
    """A table of plain values."""

    name: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]
    links: Sequence[str] = ()
    """Where each row's first cell leads."""
    total: int | None = None
    """Rows of the whole table, where `rows` are those of one page."""
    start: int = 0
    """Position of the first of `rows` in the whole table."""

    def shown(self, value: Any, column: Column) -> str:
        """Return a cell as a person reads it."""
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return "-"
        if column.unit == "s" and isinstance(value, (int, float)):
            return duration(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and column.unit:
            return measured(float(value), "" if column.unit == "number" else column.unit)
        return str(value)

    def as_csv(self) -> str:
        """Return the table as comma-separated values.

        Words that a spreadsheet would take for a formula are preceded by an apostrophe: they are not ours.
        """
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([column.name for column in self.columns])
        writer.writerows([[_cell(value) for value in row] for row in self.rows])
        return out.getvalue()

    def as_json(self) -> str:
        """Return the table as a JSON list of objects; what is unknown is null."""
        names = [column.name for column in self.columns]
        rows = [{name: _plain(value) for name, value in zip(names, row, strict=True)} for row in self.rows]
        return json.dumps(rows, ensure_ascii=False, allow_nan=False, indent=1)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _cell(value: Any) -> Any:
    value = _plain(value)
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + value
    return "" if value is None else value
