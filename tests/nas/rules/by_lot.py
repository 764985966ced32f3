"""A rung rule for tests that lets trials go on by lot; the reduction seeds the lot, and decides where the stops are."""

from __future__ import annotations

import random
from collections.abc import Sequence

from nas.rung_rule import Rung, Standing


class ByLot:
    def __init__(self, reduction: int) -> None:
        self.seed = reduction

    def rungs(self, epochs: int) -> tuple[Rung, ...]:
        stops = random.Random(self.seed).sample(range(1, epochs), k=self.seed % 3 + 1)
        return *(Rung(stop / epochs) for stop in sorted(stops)), Rung(1.0)

    def promoted(self, standings: Sequence[Standing]) -> Sequence[int]:
        rng = random.Random(f"{self.seed} {sorted(each.number for each in standings)}")
        numbers = [each.number for each in standings if rng.random() < 0.4]
        rng.shuffle(numbers)
        return [*numbers, 10_000]


RULE = ByLot
