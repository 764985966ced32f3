"""Watch a search: a live view on a terminal, one line a trial anywhere else.

Both listen to the events of `nas.events` and only write; neither touches the search or the store.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nas.events import Event, Listener, Notice, RungReached, Started, TrialFinished
from nas.front_table import front_cells, front_columns, shown_metrics, unit_of
from nas.progress import SearchProgress
from nas.quantities import duration, measured
from nas.tables import clean, rich_table

_QUIET = 30.0
"""Seconds without a line after which the plain view says that it is alive."""
_STYLES = {"complete": "green", "stopped": "yellow", "failed": "red"}


@contextmanager
def watch(console: Console, progress: SearchProgress) -> Iterator[Listener]:
    """Yield a listener that shows the search on this console: live on a terminal, plain lines elsewhere."""
    if not console.is_terminal:
        yield PlainView(console.file, progress)
        return
    view = LiveView(console, progress)
    with view.live:
        yield view


class PlainView:
    """Write one line a finished trial, and a sign of life where a trial takes long."""

    def __init__(self, out: IO[str], progress: SearchProgress) -> None:
        """Write to `out`; `progress` is kept up to date by this view."""
        self._out = out
        self._progress = progress
        self._last = progress.clock()

    def __call__(self, event: Event) -> None:
        """Take an event and write what it has to say."""
        self._progress.take(event)
        match event:
            case Started():
                for text in headline(event):
                    self._write(text)
            case Notice():
                self._write(event.text)
            case TrialFinished():
                self._write(trial_line(event, self._progress))
            case RungReached():
                self._write(rung_line(event, self._progress))
            case _:
                if self._progress.clock() - self._last > _QUIET:
                    self._write(f"{counts_line(self._progress)}; {pace(self._progress)}")

    def _write(self, text: str) -> None:
        self._out.write(clean(text) + "\n")
        self._out.flush()
        self._last = self._progress.clock()


class LiveView:
    """Keep a picture of the search at the foot of the terminal: progress, counts, front, last trials."""

    def __init__(self, console: Console, progress: SearchProgress) -> None:
        """Draw on `console`; `progress` is kept up to date by this view."""
        self._console = console
        self._progress = progress
        self._lock = threading.Lock()
        self.live = Live(
            get_renderable=self.render, console=console, refresh_per_second=4, transient=True, vertical_overflow="crop"
        )

    def __call__(self, event: Event) -> None:
        """Take an event; notices stay on the screen above the picture."""
        with self._lock:
            self._progress.take(event)
        match event:
            case Started():
                for text in headline(event):
                    self.live.console.print(Text(clean(text)))
            case Notice():
                self.live.console.print(Text(clean(event.text), style="yellow"))
            case _:
                pass

    def render(self) -> RenderableType:
        """Return the picture as it stands now."""
        with self._lock:
            return picture(self._progress, height=self._console.height)


def headline(event: Started) -> list[str]:
    """Say what is searched, by whom, for what, and where it is kept."""
    verb = f"resumed at {event.done} of" if event.resumed else "budget"
    workers = f"{event.workers} worker{'s' if event.workers != 1 else ''}"
    wanted = ", ".join(event.objectives) + (f"; {', '.join(event.limits)}" if event.limits else "")
    return [f"study {event.study}: {verb} {event.budget}, {event.sampler}, {workers}; {wanted}", f"store {event.store}"]


def counts_line(progress: SearchProgress) -> str:
    """Count trials by what became of them."""
    waiting = ""
    if progress.waiting or progress.promoted:
        size = f" ({progress.kept_bytes / 1e6:,.1f} MB)" if progress.waiting else ""
        waiting = f"{len(progress.waiting)} waiting at a rung{size}, {progress.promoted} promoted, "
    return (
        f"{progress.done}/{progress.budget} trained, {len(progress.running)} running, {waiting}"
        f"{progress.counts['failed']} failed, {progress.rejected} rejected"
    )


def pace(progress: SearchProgress) -> str:
    """Say how long it has taken and how long it will."""
    eta = progress.eta()
    return f"{duration(progress.elapsed)} so far, ETA {'-' if eta is None else duration(eta)}"


def trial_line(event: TrialFinished, progress: SearchProgress) -> str:
    """Say in one line what became of a trial."""
    width = len(str(event.budget))
    head = f"[{event.done:>{width}}/{event.budget}] trial {event.number} {event.state}"
    if event.state == "complete":
        body = _numbers(event.values, progress)
    else:
        body = (event.reason or "no reason given").removeprefix(f"{event.state} ")
    return "; ".join([f"{head}: {body}", duration(event.seconds), *_tail(progress, event.done < event.budget)])


def rung_line(event: RungReached, progress: SearchProgress) -> str:
    """Say in one line which rung a trial has come to."""
    width = len(str(event.budget))
    head = f"[{progress.done:>{width}}/{event.budget}] trial {event.number} at rung {event.rung} of {event.rungs}"
    body = f"epoch {event.epoch} of {event.epochs}, {_numbers(event.values, progress)}"
    return "; ".join([f"{head}: {body}", duration(event.seconds), *_tail(progress, progress.done < event.budget)])


def picture(progress: SearchProgress, *, height: int) -> RenderableType:
    """Lay out the whole state for a terminal of `height` lines."""
    parts: list[RenderableType] = [Text(), _bar(progress), Text(counts_line(progress))]
    parts += [_running_line(progress)] if progress.running else []
    room = max(3, min(8, height - 14))
    if progress.front:
        title = f"front: {len(progress.front)} network{'s' if len(progress.front) != 1 else ''}"
        parts += [Text(), Text(title, style="bold"), _front(progress, room)]
    if progress.last and height >= 18:
        parts += [Text(), Text("last trials", style="bold"), *_last(progress)]
    return Group(*parts)


def _numbers(values: Mapping[str, float], progress: SearchProgress) -> str:
    names = shown_metrics(_metrics(progress))
    return ", ".join(f"{name} {measured(values.get(name), unit_of(name))}" for name in names)


def _tail(progress: SearchProgress, unfinished: bool) -> list[str]:
    eta = progress.eta()
    return [f"ETA {duration(eta)}"] if eta is not None and unfinished else []


def _metrics(progress: SearchProgress) -> list[str]:
    objectives = progress.started.objectives if progress.started else ()
    return [objective.partition(":")[0] for objective in objectives]


def _bar(progress: SearchProgress) -> RenderableType:
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(ratio=1)
    grid.add_column(no_wrap=True, justify="right")
    bar = ProgressBar(total=1.0, completed=min(1.0, progress.fraction), complete_style="green")
    grid.add_row(bar, Text(f"{100 * progress.fraction:3.0f} %  {pace(progress)}"))
    return grid


def _running_line(progress: SearchProgress) -> Text:
    parts: list[str] = []
    for running in list(progress.running.values())[:4]:
        of = f"/{running.epochs}" if running.epochs else ""
        of += f" (stops at {running.stop})" if running.stop != running.epochs else ""
        parts.append(f"trial {running.number} epoch {running.epoch}{of}")
    more = len(progress.running) - len(parts)
    text = "now: " + ", ".join(parts) + (f" and {more} more" if more > 0 else "")
    return Text(text, style="dim", no_wrap=True, overflow="ellipsis")


def _front(progress: SearchProgress, room: int) -> RenderableType:
    metrics = _metrics(progress)
    shown = progress.front[:room]
    table = rich_table(front_columns(metrics), [front_cells(point, metrics) for point in shown])
    hidden = len(progress.front) - len(shown)
    return Group(table, Text(f"and {hidden} more", style="dim")) if hidden else table


def _last(progress: SearchProgress) -> Iterator[Text]:
    for event in progress.last:
        mark = "*" if progress.on_front(event.number) else " "
        text = clean(trial_line(event, progress).rpartition("; ETA")[0] or trial_line(event, progress))
        yield Text(f"{mark} {text}", style=_STYLES[event.state], no_wrap=True, overflow="ellipsis")
