"""Zero-cost proxies as features of a sampler's predictor, beside the counted costs.

Source:  White et al., How Powerful are Performance Predictors in Neural Architecture Search?, arXiv:2104.01177, which
         adds zero-cost scores to the encoding that a model learns from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from nas.events import Listener, Notice, silent
from nas.executors.work import reason_of
from nas.known_costs import Choices, KnownCosts
from nas.preparation import Preparation
from space import Architecture
from trials.evaluator import Job
from trials.seeds import trial_seed
from trials.training.recipe import PROXY_RECIPE
from trials.zero_cost import proxy

AFFORDED = 40
"""Points that may be completed and scored for one proposal: each takes as long as its proxies, tens of milliseconds."""


def scored_costs(known: KnownCosts, prepared: Preparation, emit: Listener = silent) -> KnownCosts:
    """Return the known costs with the scores of the settings' `features` behind them.

    A score s enters as s + sqrt(s^2 + 1), which is above 0 and whose logarithm is about that of s on both sides of 0.
    A point without a score has NaN there, which a predictor takes for an average one; it is never refused for that.
    emit:  is told the first time that a proxy fails for some reason.
    """
    members = [proxy(name) for name in prepared.settings.features]
    names = [name for member in members for name in member.metrics]
    seen: dict[str, list[float]] = {}
    told: set[str] = set()

    def failed(why: str, arch: Architecture) -> None:
        if why not in told:
            told.add(why)
            emit(Notice(f"feature {why}; network {arch.id} and its like count as average ones"))

    def of(choices: Choices) -> Sequence[float] | None:
        counted = known.of(choices)
        if counted is None:
            return None
        arch = prepared.space.decode(dict(choices))
        if arch.id not in seen:
            seen[arch.id] = _scores(prepared, arch, failed)
        return [*counted, *seen[arch.id]]

    return replace(known, of=of, count=known.count + len(names), limit=min(known.limit, AFFORDED))


def _scores(prepared: Preparation, arch: Architecture, failed: Callable[[str, Architecture], None]) -> list[float]:
    settings, size = prepared.settings, prepared.size
    found: list[float] = []
    for name in settings.features:
        evaluator = proxy(name).model_validate({})
        try:
            job = Job(
                trial_number=0, arch=arch, train_arch=size.twin(arch), data=settings.data,
                data_seed=settings.data_seed, recipe=settings.recipe or PROXY_RECIPE, resolution=size.resolution,
                cost_resolution=size.cost_resolution, seed=trial_seed(settings.seed, arch.id),
                evaluators=(evaluator,),
            )  # fmt: skip
            found += [positive(each.value) for each in evaluator.evaluate(job, lambda *_: None).values()]
        except Exception as error:  # whatever a network does to a proxy, the search goes on without that score
            failed(f"{name}: no score: {reason_of(error)}", arch)
            found += [math.nan] * len(evaluator.metrics)
    return found


def positive(score: float) -> float:
    """Return s + sqrt(s^2 + 1), the exponential of the inverse hyperbolic sine of s."""
    return math.exp(math.asinh(score))
