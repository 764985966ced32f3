"""Tables for a terminal (rich) and for a pipe (aligned text, one line a row, never cut).

Cells may hold stored text, so control characters are shown, not obeyed, and markup is not interpreted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable


@dataclass(frozen=True)
class Column:
    """A column's title and how it is laid out: numbers to the right, long text last and first to shrink."""

    title: str
    right: bool = False
    long: bool = False


def clean(text: object) -> str:
    """Return the text on one line with every unprintable character written as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def plain(columns: Sequence[Column], rows: Sequence[Sequence[object]]) -> str:
    """Lay a table out as text: two spaces between columns, titles first, no trailing blanks."""
    cells = [[column.title for column in columns], *([clean(cell) for cell in row] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    lines = [
        "  ".join(
            cell.rjust(width) if column.right else cell.ljust(width)
            for cell, width, column in zip(line, widths, columns, strict=True)
        ).rstrip()
        for line in cells
    ]
    return "\n".join(lines)


def rich_table(columns: Sequence[Column], rows: Sequence[Sequence[object]]) -> RichTable:
    """Lay a table out for a terminal; a long column ends in an ellipsis rather than wrap."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    # Only in a table that fills the width does a ratio make one column give way to all others.
    stretched = any(column.long for column in columns)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, expand=stretched)
    for column in columns:
        table.add_column(
            column.title,
            justify="right" if column.right else "left",
            no_wrap=True,
            overflow="ellipsis",
            ratio=1 if column.long else None,
        )
    for row in rows:
        table.add_row(*(Text(clean(cell)) for cell in row))
    return table


def show(console: Console, columns: Sequence[Column], rows: Sequence[Sequence[object]]) -> None:
    """Print a table on a console: rich on a terminal, plain text anywhere else."""
    if console.is_terminal:
        console.print(rich_table(columns, rows))
    else:
        console.file.write(plain(columns, rows) + "\n")
