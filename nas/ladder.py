"""The ladder of a study: the rungs on the way of a training, who stands on which, who waits, and who goes on.

A trial that has reached a rung is written down in this order: its checkpoint beside the one before, its row, and then
the older checkpoint goes. A kill between any two leaves a row and the checkpoint that belongs to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from nas.estimates import Estimates
from nas.fidelity import Stop
from nas.flight import Flight, next_evaluators
from nas.front import values_of
from nas.objective import vector
from nas.rungs import Standing
from nas.settings import SearchSettings
from nas.suggestions import Proposal
from nas.trial_checkpoints import TrialCheckpoints
from trials.rows import OPEN, StudyRow, TrialRow
from trials.store import Store
from trials.training.stretch import Stretch

_PARTS = {2: "half", 3: "third", 4: "quarter"}


class Ladder:
    """Holds what waits, and asks the study's rule who goes on; without rungs it does nothing."""

    def __init__(self, store: Store, study: StudyRow, settings: SearchSettings) -> None:
        """Stand empty; `take_in` tells of stored trials."""
        self._store, self._settings = store, settings
        self._evaluators = [each for each in settings.evaluators if each.staged]
        self.staged = {each.kind for each in self._evaluators}
        epochs = settings.recipe.epochs if settings.recipe else None
        self.stops: Sequence[Stop] = settings.fidelity.stops(epochs) if epochs and self.staged else ()
        self._rule = settings.fidelity.make()
        self._standings: list[dict[int, Standing]] = [{} for _ in self.stops[1:]]
        self._ripe: dict[int, Sequence[int]] = {}
        self._waiting: dict[int, Flight] = {}
        learnt = {metric for each in self._evaluators for metric in each.metrics}
        self.estimates = Estimates(len(self.stops), learnt)
        self._checkpoints = TrialCheckpoints(store.root, study.name)
        self._told = False

    @property
    def waiting(self) -> tuple[int, ...]:
        """Return the numbers of the trials that wait at a rung."""
        return tuple(sorted(self._waiting))

    @property
    def kept_bytes(self) -> int:
        """Return the size of the checkpoints of waiting trials and of those that have gone on from one."""
        return self._checkpoints.bytes

    def take_in(self, rows: Sequence[TrialRow], proposals: Mapping[int, Proposal]) -> list[Flight]:
        """Take in the stored trials; return the open ones that are to be run, with those under way to a rung first."""
        flights: list[Flight] = []
        for row in rows:
            counted = values_of(row)
            for rung, reading in enumerate(row.rungs):
                self._stand(row, rung, counted | reading["values"])
            if row.rungs and row.state == "complete":
                self.estimates.take(row.number, len(self.stops) - 1, counted)
            if row.state not in OPEN:
                continue
            flight = Flight(row, proposals[row.number], row.attempt, rungs=row.rungs)
            flight.stand(self.staged)
            if row.waiting:
                self._waiting[row.number] = flight
            else:
                flights.append(flight)
        if len(self.stops) > 1:
            kept = {(row.number, row.rungs[-1]["epoch"]) for row in rows if row.state in OPEN and row.rungs}
            self._checkpoints.sweep(kept)
        return sorted(flights, key=lambda flight: -len(flight.rungs))

    def leg(self, flight: Flight) -> tuple[Stretch | None, bytes | None]:
        """Return the stretch that a trial's next job goes, and the checkpoint that it starts from.

        A trial without its checkpoint starts at the beginning. No stretch: the job trains to the end, or not at all.
        """
        flight.goal = None
        kinds = {each.kind for each in next_evaluators(flight, self._settings)}
        if len(self.stops) < 2 or not kinds & self.staged:
            return None, None
        flight.goal = len(flight.rungs)
        stop, content, since = self.stops[flight.goal], None, 0
        if flight.rungs:
            last = flight.rungs[-1]
            content = self._checkpoints.get(flight.row.number, last["epoch"], last["sha256"])
            since = last["epoch"] if content is not None else 0
        seconds = flight.spent if since else 0.0
        whole = {"resolution": stop.resolution, "images": stop.images}
        return Stretch(since=since, until=stop.epoch, seconds=seconds, **whole), content

    def rests(self, flight: Flight) -> bool:
        """Tell whether a trial whose job has ended well has come to a rung, and not to its end."""
        return flight.goal is not None and flight.goal + 1 < len(self.stops)

    def rest(self, flight: Flight, checkpoint: bytes | None) -> str | None:
        """Store that a trial has come to a rung, where it waits from now on; return what is to be told of it.

        Raises:  NasError, StoreError where that cannot be written.
        """
        row, epoch, values = flight.row, self.stops[len(flight.rungs)].epoch, flight.values()
        sha256 = None if checkpoint is None else self._checkpoints.put(row.number, epoch, checkpoint)
        flight.rest(epoch, self.staged, sha256)
        self._store.pause_trial(row.id, reason=self._place(flight), rungs=flight.rungs)
        self._checkpoints.remove(row.number, keep=epoch)
        self._stand(row, len(flight.rungs) - 1, values)
        self._waiting[row.number] = flight
        if checkpoint is None or self._told:
            return None
        self._told = True
        return (
            f"trials that wait at a rung keep their checkpoints in {self._checkpoints.folder} until they are over: "
            f"trial {row.number} {len(checkpoint) / 1e6:,.1f} MB, {self._settings.budget:,} trials at the most"
        )

    def promoted(self) -> Flight | None:
        """Take the best trial that may go on from the highest rung that has one; None where nobody may."""
        for rung in reversed(range(len(self._standings))):
            if rung not in self._ripe:
                standings = self._standings[rung]
                self._ripe[rung] = self._rule.promoted([standings[number] for number in sorted(standings)])
            for number in self._ripe[rung]:
                flight = self._waiting.get(number)
                if flight is not None and len(flight.rungs) == rung + 1:
                    flight.promoted = True
                    return self._waiting.pop(number)
        return None

    def retired(self) -> Iterator[tuple[Flight, str]]:
        """Take all that wait out, with what they have measured, and the reason why they go no further."""
        part = _PARTS.get(self._settings.fidelity.reduction, f"{self._settings.fidelity.reduction}th")
        for number in sorted(self._waiting):
            flight = self._waiting.pop(number)
            flight.measured |= flight.reading
            at = f"epoch {flight.rungs[-1]['epoch']} of {self.stops[-1].epoch}"
            yield flight, f"stopped at {at}: not among the best {part} of its rung"

    def ended(self, flight: Flight, state: str) -> None:
        """Take note that a trial has its final row: its checkpoint goes."""
        if not flight.rungs:
            return
        self._checkpoints.remove(flight.row.number)
        if state == "complete":
            self.estimates.take(flight.row.number, len(self.stops) - 1, flight.values())

    def _place(self, flight: Flight) -> str:
        at = f"epoch {flight.rungs[-1]['epoch']} of {self.stops[-1].epoch}"
        return f"waiting at rung {len(flight.rungs)} of {len(self.stops)}, {at}"

    def _stand(self, row: TrialRow, rung: int, values: Mapping[str, float]) -> None:
        """Note that a trial has reached a rung, from 0."""
        objectives = self._settings.objectives
        found = vector(objectives, values)
        if found is None or rung >= len(self._standings):
            return
        less = tuple(-v if o.better == "max" else v for v, o in zip(found, objectives, strict=True))
        self._standings[rung][row.number] = Standing(row.number, float(row.macs or 0), less)
        self._ripe.pop(rung, None)
        self.estimates.take(row.number, rung, values)
