"""What a sampler may know of the points of a design space: their counted costs, and whether they would be refused."""

from __future__ import annotations

import random
from collections.abc import Sequence

from pydantic import ValidationError

from nas.admission import Admission
from nas.known_costs import Choices, KnownCosts
from nas.objective import COUNTED, Objective
from space import Architecture, SpaceError
from space.walk import Domain, Params, Value, allows, draw

LIMIT = 100
"""Points that may be completed and costed for one proposal, at about half a millisecond each."""


def point_costs(admission: Admission, objectives: Sequence[Objective]) -> KnownCosts:
    """Return the counted costs of the points that `admission` judges, for a search with these objectives."""
    space, size = admission.space, admission.size
    latest: list[tuple[Choices, Architecture]] = []  # the point just completed need not be realised again

    def of(choices: Choices) -> Sequence[float] | None:
        try:
            known = latest and latest[0][0] is choices
            cost = size.cost(latest[0][1] if known else space.decode(dict(choices)))
        except SpaceError:
            return None
        return [max(1.0, float(getattr(cost, metric))) for metric in COUNTED]

    def complete(choices: Choices, rng: random.Random) -> Choices | None:
        found: Params = {}

        def choose(path: str, domain: Domain) -> Value:
            kept = path in choices and allows(domain, choices[path])
            found[path] = choices[path] if kept else draw(domain, rng)
            return found[path]

        try:
            arch = space.realise(choose)
        except ValidationError:
            return None
        if admission.over(arch) > 0:
            return None
        latest[:] = [(found, arch)]
        return found

    wanted = {
        index: COUNTED.index(objective.metric)
        for index, objective in enumerate(objectives)
        if objective.metric in COUNTED and objective.better == "min"
    }
    return KnownCosts(of, len(COUNTED), wanted, complete, LIMIT)
