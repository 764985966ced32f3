"""What trials that are not fully trained would come to: their last reading, and what others have gained since there.

A sampler learns from one study in which trials have been trained to different lengths. Told the readings as they are,
it would take every trial that has not gone on for worse than it is. So each reading is raised by the mean gain from
its rung to the next, and so on to the end, of the trials of this study that went on. Those were chosen for good
readings, hence the gains are on the low side; trials of one rung keep their order.
The estimates follow from the stored readings alone, whatever their order, so that a resumed search has the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

Values = Mapping[str, float]


class Estimates:
    """Readings of trials by rung, the last rung being the end."""

    def __init__(self, rungs: int, learnt: Collection[str]) -> None:
        """Begin without readings; only the metrics `learnt` change with the training."""
        self._rungs, self._learnt = rungs, tuple(sorted(learnt))
        self._readings: dict[int, dict[int, Values]] = {}
        self._changed = False

    def take(self, number: int, rung: int, values: Values) -> None:
        """Take in what a trial has measured at a rung, from 0."""
        self._readings.setdefault(number, {})[rung] = dict(values)
        self._changed = True

    def news(self) -> dict[int, Values]:
        """Return the estimate of each trial that has a reading, exact ones of complete trials; empty if none is new."""
        if not self._changed:
            return {}
        self._changed = False
        gains = self._gains()
        return {number: self._raised(readings, gains) for number, readings in sorted(self._readings.items())}

    def _gains(self) -> list[dict[str, float]]:
        """Return per rung the gain of each metric from there to the end."""
        gains: list[dict[str, float]] = [dict.fromkeys(self._learnt, 0.0) for _ in range(self._rungs)]
        for rung in reversed(range(self._rungs - 1)):
            for name in self._learnt:
                steps = [
                    readings[rung + 1][name] - readings[rung][name]
                    for readings in self._readings.values()
                    if rung in readings and name in readings.get(rung + 1, {})
                ]
                # fsum is exact, hence the same in any order
                step = math.fsum(steps) / len(steps) if steps else 0.0
                gains[rung][name] = gains[rung + 1][name] + step
        return gains

    def _raised(self, readings: Mapping[int, Values], gains: list[dict[str, float]]) -> Values:
        last = max(readings)
        return {name: value + gains[last].get(name, 0.0) for name, value in readings[last].items()}
