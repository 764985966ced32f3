"""Watch one training: a progress bar on a terminal, a line now and then anywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from nas.front_table import unit_of
from nas.quantities import duration, measured
from nas.tables import clean

_EVERY = 10.0
"""Seconds between lines where nobody watches; the first and the last epoch are always told."""
_SHOWN = {"accuracy": unit_of("accuracy"), "loss": unit_of("loss"), "sparsity": "ratio"}
"""The metrics of an epoch that are told, with their units."""
OnEpoch = Callable[[int, dict[str, float]], None]


@contextmanager
def watch_epochs(console: Console, epochs: int, *, clock: Callable[[], float] = time.monotonic) -> Iterator[OnEpoch]:
    """Yield the function to call after each epoch (from 1) with its metrics; it shows progress and time left."""
    pace = _Pace(epochs, clock)
    if not console.is_terminal:
        yield _Lines(console, pace)
        return
    columns = (TextColumn("epoch {task.completed:.0f}/{task.total:.0f}"), BarColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=epochs)

        def on_epoch(epoch: int, metrics: dict[str, float]) -> None:
            bar.update(task, completed=epoch, description=clean(pace.words(epoch, metrics)))

        yield on_epoch


class _Pace:
    """Tells how long the rest will take, from the epochs of this run; resumed ones before it do not count."""

    def __init__(self, epochs: int, clock: Callable[[], float]) -> None:
        self.epochs, self.clock = epochs, clock
        self._begin = clock()
        self._first: int | None = None

    def words(self, epoch: int, metrics: Mapping[str, float]) -> str:
        self._first = epoch - 1 if self._first is None else self._first
        rest = (self.clock() - self._begin) / max(epoch - self._first, 1) * (self.epochs - epoch)
        shown = [f"{name} {measured(metrics[name], unit)}" for name, unit in _SHOWN.items() if name in metrics]
        return ", ".join([*shown, f"ETA {duration(rest)}"] if epoch < self.epochs else shown)


class _Lines:
    def __init__(self, console: Console, pace: _Pace) -> None:
        self._console, self._pace = console, pace
        self._last: float | None = None

    def __call__(self, epoch: int, metrics: dict[str, float]) -> None:
        words, now = self._pace.words(epoch, metrics), self._pace.clock()
        if self._last is None or epoch == self._pace.epochs or now - self._last >= _EVERY:
            self._console.file.write(f"epoch {epoch}/{self._pace.epochs}: {words}\n")
            self._console.file.flush()
            self._last = now
