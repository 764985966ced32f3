"""A rung rule for tests: the best share of a rung in the first objective goes on; stops at 1/9 and 1/3."""

from __future__ import annotations

from collections.abc import Sequence

from nas.rung_rule import Rung, Standing


class TopShare:
    def __init__(self, reduction: int) -> None:
        self.reduction = reduction

    def rungs(self, epochs: int) -> tuple[Rung, ...]:
        return Rung(1 / 9), Rung(1 / 3), Rung(1.0)

    def promoted(self, standings: Sequence[Standing]) -> Sequence[int]:
        best = sorted(standings, key=lambda each: (each.values, each.number))
        return [each.number for each in best[: len(best) // self.reduction]]


RULE = TopShare
