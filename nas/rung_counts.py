"""How many trials of a study reached each rung, and what became of them there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nas.fidelity import Stop
from trials.rows import TrialRow


@dataclass(frozen=True)
class RungCount:
    """One rung below the end of the training."""

    number: int
    """From 1."""
    of: int
    """Rungs in all, the end of the training among them."""
    epoch: int
    reached: int
    promoted: int
    """Those that went on from here, or are on their way."""
    stopped: int
    failed: int
    """Those that failed on the way from here, hence were promoted as well."""
    waiting: int

    @property
    def counts(self) -> tuple[int, int, int, int, int]:
        """Reached, promoted, stopped, failed later and waiting."""
        return self.reached, self.promoted, self.stopped, self.failed, self.waiting


def rungs_of(rows: Iterable[TrialRow], stops: Sequence[Stop]) -> list[RungCount]:
    """Return the rungs below the end of a training with these stops, the lowest first."""
    climbed = [row for row in rows if row.rungs]
    found: list[RungCount] = []
    for index, stop in enumerate(stops[:-1]):
        here = [row for row in climbed if len(row.rungs) > index]
        last = [row for row in here if len(row.rungs) == index + 1]
        stopped = sum(row.state == "stopped" for row in last)
        waiting = sum(row.waiting for row in last)
        failed = sum(row.state == "failed" for row in last)
        promoted = len(here) - stopped - waiting
        found.append(RungCount(index + 1, len(stops), stop.epoch, len(here), promoted, stopped, failed, waiting))
    return found
