"""What commands print: results on stdout, messages on stderr, JSON where asked for."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from nas import tables

if TYPE_CHECKING:
    from rich.console import Console


def console(*, stderr: bool = False) -> Console:
    """Return a console on stdout (or stderr) as it stands now; it writes no ANSI codes into a pipe."""
    from rich.console import Console

    return Console(file=sys.stderr if stderr else sys.stdout, highlight=False, markup=False, emoji=False)


def say(text: str) -> None:
    """Print a message for the person, one line on stderr."""
    print(tables.clean(text), file=sys.stderr, flush=True)


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Show on a terminal that something takes its time; the words vanish when it is done. A pipe sees nothing."""
    shown = console(stderr=True)
    if not shown.is_terminal:
        yield
        return
    from rich.text import Text

    with shown.status(Text(tables.clean(text))):
        yield


@contextmanager
def counting(total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Show on a terminal how many of `total` are done and when all will be; call it with how many more are."""
    shown = console(stderr=True)
    if not shown.is_terminal:
        yield lambda done: None
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn(unit), TimeElapsedColumn(), TextColumn("ETA"))
    with Progress(*columns, TimeRemainingColumn(), console=shown, transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda done: bar.advance(task, done)


def line(text: str = "") -> None:
    """Print a line of the result on stdout."""
    print("\n".join(tables.clean(part) for part in text.split("\n")), flush=True)


def table(columns: Sequence[tables.Column], rows: Sequence[Sequence[object]]) -> None:
    """Print a table of the result on stdout."""
    tables.show(console(), columns, rows)


def as_json(value: Any) -> None:
    """Print a value as JSON on stdout; NaN and infinities, which JSON lacks, become null."""
    print(json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False), flush=True)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
