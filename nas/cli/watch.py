"""Show a search while it runs, and say at its end what was found, where it is, and what to type next."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from nas.cli.open import settings_of
from nas.cli.output import as_json, console, line, say, table
from nas.quantities import duration
from nas.tables import Column

if TYPE_CHECKING:
    from nas.events import Listener
    from nas.progress import SearchProgress
    from nas.search import Result
    from nas.second_stage import Outcome
    from trials.store import Store


def show_search(run: Callable[[Listener], Result], place: Place, *, json: bool) -> None:
    """Call `run` with a listener that shows the search, then print its outcome; leave with 130 after Ctrl-C."""
    from nas.live import watch

    try:
        with watch(console(stderr=json), place.progress()) as listen:
            result = run(listen)
    except KeyboardInterrupt:
        say(f"interrupted; {place.way_back()}")
        raise typer.Exit(130) from None
    if json:
        as_json(_outcome(result))
    else:
        _print_outcome(result, place)
    if result.interrupted:
        say(f"interrupted; {place.way_back()}")
        raise typer.Exit(130)


@dataclass(frozen=True)
class Place:
    """A study in its store, for the commands that are suggested."""

    store: Store
    study: str
    named: bool
    """Whether the store was named on the command line, hence must be named again."""

    def command(self, *words: str) -> str:
        """Return a command to type, quoted for the shell; a password is left out of the store's URL."""
        return shlex.join(["nas", *words, *(("--store", self.store.url) if self.named else ())])

    def way_back(self) -> str:
        """Say how to go on after an interruption."""
        if any(row.name == self.study for row in self.store.studies()):
            return f"go on with: {self.command('resume', self.study)}"
        return "the study had not begun, nothing is stored"

    def progress(self) -> SearchProgress:
        """Return what the store knows of the study, so that a resumed search is shown whole."""
        from nas.front import front_points
        from nas.progress import SearchProgress

        row = next((row for row in self.store.studies() if row.name == self.study), None)
        if row is None:
            return SearchProgress()
        front = front_points(self.store.trials(row.id), settings_of(self.store.study(self.study)).objectives)
        return SearchProgress(counts=row.counts, front=tuple(front))


def _outcome(result: Result) -> dict[str, Any]:
    return {
        "study": result.study,
        "store": result.store,
        "done": result.done,
        "budget": result.budget,
        "counts": dict(result.counts),
        "seconds": round(result.seconds, 3),
        "interrupted": result.interrupted,
        "exhausted": result.exhausted,
        "reused": result.reused,
        "front": [point.as_json() for point in result.front],
        "second": None if result.second is None else result.second.as_json(),
    }


def _print_outcome(result: Result, place: Place) -> None:
    from nas.front_table import front_cells, front_columns

    counts = result.counts
    rejected = counts.get("duplicate", 0) + counts.get("infeasible", 0)
    stopped = f"{counts['stopped']} of them up to a rung, " if counts.get("stopped") else ""
    known = f" ({result.reused} of them before, in other studies)" if result.reused else ""
    line()
    line(
        f"{result.done} of {result.budget} networks trained in {duration(result.seconds)}{known}, {stopped}"
        f"{counts.get('failed', 0)} failed, {rejected} rejected before training"
    )
    if result.exhausted:
        line("the search ended early: no new feasible point was found")
    names = [objective.metric for objective in settings_of(place.store.study(result.study)).objectives]
    if result.front:
        line(f"the front, {len(result.front)} network{'s' if len(result.front) != 1 else ''}:")
        line()
        table(front_columns(names), [front_cells(point, names) for point in result.front])
    if result.second is not None:
        show_second(result.second, names)
    line()
    line(f"everything is stored in {place.store.url} as study {result.study}")
    _print_next(result, place)


def show_second(second: Outcome, objectives: Sequence[str]) -> None:
    """Print what a second stage came to: how it agrees with the first, and its front."""
    from nas.front_table import front_cells, front_columns

    line()
    line(second.sentence())
    if second.front:
        line()
        first, *rest = front_columns(objectives)
        rows = [front_cells(point, objectives) for point in second.front]
        sources = [str(second.sources.get(point.trial, "-")) for point in second.front]
        columns = [first, Column("of trial", right=True), *rest]
        table(columns, [[row[0], source, *row[1:]] for row, source in zip(rows, sources, strict=True)])


def _print_next(result: Result, place: Place) -> None:
    line("next:")
    if not result.front:
        line(f"  {place.command('trials', result.study, '--state', 'failed')}")
        return
    best = f"{result.study}:{result.front[0].trial}"
    data = settings_of(place.store.study(result.study)).data
    line(f"  {place.command('train', best, '--data', data)}")
    line(f"  {place.command('export', best, '--to', 'my-network')}")
    line(f"  {place.command('report', result.study, '--out', 'report.html')}")
    if result.done < result.budget and not result.exhausted:
        line(f"  {place.command('resume', result.study)}")
