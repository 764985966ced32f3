"""The evaluation cache: what one study of a store has measured, no other one measures again.

Two trials have the same result where everything that decides it is the same: the network as it is trained, the recipe,
the images and their split, the seed, and the version of the evaluator.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nas.flight import Flight, job_for
from nas.settings import SearchSettings
from nas.training_size import TrainingSize
from space import Architecture
from space.errors import NasError
from trials.evaluator import Evaluator
from trials.measurement import Measured
from trials.rows import Rival, StudyRow
from trials.store import Store

LOOK_AGAIN = 0.5
"""Seconds between two looks at a trial that another process trains."""


@dataclass(frozen=True)
class Conditions:
    """What a study decides about the result of its trials."""

    settings: SearchSettings
    size: TrainingSize
    data_fingerprint: str

    @classmethod
    def stored(cls, config: dict[str, Any], data_fingerprint: str) -> Conditions | None:
        """Return those of a study by its row; None where this program cannot read them."""
        try:
            settings = SearchSettings.make(**config)
        except NasError:
            return None
        size = TrainingSize.stored(settings)
        return None if size is None else cls(settings, size, data_fingerprint)

    def deciding(self, arch: Architecture, seed: int, kind: str) -> tuple[object, ...] | None:
        """Return all that decides what an evaluator of this kind finds for a point; None where none is run."""
        evaluators = [each for each in self.settings.evaluators if each.kind == kind]
        if not evaluators:
            return None
        try:
            job = job_for(arch, self.settings, self.size, number=0, seed=seed, evaluators=tuple(evaluators))
        except NasError:  # the twin of this point cannot be built at that study's size
            return None
        fidelity = self.settings.fidelity
        # rungs of epochs alone change nothing; smaller images and fewer of them do
        rungs = () if fidelity.whole() or not evaluators[0].staged else fidelity.stops(job.recipe.epochs or 1)
        return self.data_fingerprint, evaluators[0].decided_by(job), rungs


def reusable(settings: SearchSettings) -> tuple[Evaluator, ...]:
    """Return the evaluators of a study whose results may come from elsewhere."""
    return () if settings.repeat else tuple(each for each in settings.evaluators if each.reusable)


class EvaluationCache:
    """Finds results of one study's trials among those of all other studies of the store."""

    def __init__(self, store: Store, study: StudyRow, settings: SearchSettings, size: TrainingSize) -> None:
        """Find nothing where the settings ask for repetition."""
        self._store = store
        self._mine = Conditions(settings, size, study.data_fingerprint)
        self._evaluators = reusable(settings)
        self._theirs: dict[str, Conditions | None] = {}
        self._look_again: dict[int, float] = {}

    def look_up(self, flight: Flight) -> Sequence[Rival] | None:
        """Give the trial what is there of its result, and return the rivals that were looked at.

        Returns None while another process is training it; `flight.waits_for` then says which trial that is.
        """
        number = flight.row.number
        if not self._evaluators:
            return self._store.rivals(flight.row)
        if time.monotonic() < self._look_again.get(number, 0.0):
            return None
        flight.waits_for, rivals = None, self._store.rivals(flight.row)
        alike = [(rival, kinds) for rival in rivals if (kinds := self._alike(flight, rival))]
        for rival, kinds in sorted(alike, key=lambda pair: -len(pair[1])):
            if rival.complete and (found := self._measured(rival, kinds)):
                flight.measured |= found
                flight.source = rival
                return rivals
        flight.waits_for = next((rival for rival, _ in alike if not rival.complete), None)
        if flight.waits_for is None:
            return rivals
        self._look_again[number] = time.monotonic() + LOOK_AGAIN
        return None

    def _alike(self, flight: Flight, rival: Rival) -> list[str]:
        """Return the kinds of the evaluators that find the same for both."""
        if rival.study not in self._theirs:
            self._theirs[rival.study] = Conditions.stored(rival.config, rival.data_fingerprint)
        theirs = self._theirs[rival.study]
        if theirs is None:
            return []
        arch, seed = flight.proposal.arch, flight.row.seed
        kinds = [each.kind for each in self._evaluators]
        return [k for k in kinds if self._mine.deciding(arch, seed, k) == theirs.deciding(arch, seed, k)]

    def _measured(self, rival: Rival, kinds: Sequence[str]) -> dict[str, tuple[int, dict[str, Measured]]]:
        """Return what evaluators of these kinds measured, as far as they were of the versions of this program."""
        rows = self._store.measurements_of(rival.trial_id)
        found: dict[str, tuple[int, dict[str, Measured]]] = {}
        for each in self._evaluators:
            measured = {
                row.metric: Measured(row.value, row.unit, row.spread, row.circumstances)
                for row in rows
                if (row.evaluator, row.version) == (each.kind, each.version)
            }
            if each.kind in kinds and set(measured) == set(each.metrics):
                found[each.kind] = (each.version, measured)
        return found
