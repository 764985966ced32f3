"""Mending a refused point: a duplicate becomes a neighbour, a point over a limit the same network in a smaller size.

What the sampler wanted is kept as far as it can be; a blind draw would throw it away.
"""

from __future__ import annotations

import bisect
import random

from nas.admission import Admission
from nas.resizing import FACTORS, Resize
from space import Architecture, SpaceError

NEIGHBOURS = 8
"""Neighbours tried around a duplicate."""


def mend(arch: Architecture, admission: Admission, rng: random.Random) -> Architecture | None:
    """Return a feasible point near `arch` that the study has not seen, or None where a quick look finds none."""
    if admission.over(arch) > 0:
        smaller = _scaled_down(arch, admission)
        if smaller is None or smaller.id not in admission.seen:
            return smaller
        arch = smaller
    for _ in range(NEIGHBOURS):
        try:
            other = admission.space.mutate(arch, rng)
        except SpaceError:
            return None
        if other.id not in admission.seen and admission.over(other) <= 0:
            return other
    return None


def _scaled_down(arch: Architecture, admission: Admission) -> Architecture | None:
    """Return the largest of the scaled versions that meets the limits."""
    resize = Resize(admission.space, arch)

    def fits(factor: float) -> bool:
        smaller = resize(factor, factor)
        return smaller is not None and admission.over(smaller) <= 0

    first = bisect.bisect_left(FACTORS, True, key=fits)
    for factor in FACTORS[first:]:
        smaller = resize(factor, factor)
        if smaller is not None and admission.over(smaller) <= 0:
            return smaller
    return None
