"""Suggestions: an Optuna study in memory that is a function of the stored trials, and nothing more.

How a trial is told: complete ones with their values; infeasible ones with a constraint above 0 and the worst values in
place of unknown ones; failed ones and duplicates as failures, which samplers leave aside. A trial that has reached a
rung is told from then on with an estimate of what it would come to (`nas.estimates`), whether it waits, goes on, was
stopped or failed later; once it is complete, with its values.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from pydantic import ValidationError

from nas.distributions import Walker, suggest
from nas.fitted_space import FittedSpace
from nas.front import values_of
from nas.known_costs import KnownCosts
from nas.latency_limit import PREDICTED
from nas.objective import Limit, Objective, vector, violation
from nas.parents import PARENTS, parents_of
from nas.sampler import Sampler
from space import Architecture
from space.walk import Params
from trials.rows import OPEN, TrialRow
from trials.seeds import derive_seed

WORST_MIN = 1e15
"""Stands for the unknown value of an objective to minimise; finite, since samplers compute with it."""
UNCOSTED = 1e6
"""Constraint value of a point whose cost cannot be computed at all."""
_OWN_ATTRIBUTES = ("fixed_params", "constraints", "tpe:", PARENTS)


@dataclass(frozen=True)
class Proposal:
    """A point together with the Optuna trial that stands for it."""

    trial: optuna.Trial | FrozenTrial
    """The latter where it has been told already."""
    arch: Architecture
    choices: Params
    state: Mapping[str, Any]
    """What the sampler noted on the trial (NSGA-II its generation); stored, so that a resumed search has it."""
    parents: tuple[int, ...] = ()
    """Numbers of the stored trials that the sampler bred it from."""


class Suggestions:
    """Asks a sampler for points and tells it what became of them."""

    def __init__(
        self,
        space: FittedSpace,
        sampler: Sampler,
        objectives: Sequence[Objective],
        limits: Sequence[Limit],
        seed: int,
        known: KnownCosts | None = None,
    ) -> None:
        """Start without trials; `known` is what the sampler may know of points before they are trained."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.objectives, self.limits = tuple(objectives), tuple(limits)
        self._space, self._at_seed, self._seed = space, sampler.start(known), seed
        self._walker = Walker(space.space)
        # Optuna counts points that broke a rule of the space as well, which are stored nowhere
        self._numbers: dict[int, int] = {}
        ways = {"max": StudyDirection.MAXIMIZE, "min": StudyDirection.MINIMIZE}
        self._study = optuna.create_study(
            directions=[ways[objective.better] for objective in objectives],
            sampler=self._at_seed(_bits(derive_seed("sampler", seed))),
        )

    def ask(self, *salt: int) -> Proposal | None:
        """Return the sampler's next point, or None where its choices broke a rule of the space.

        The sampler is seeded by the search's seed and `salt`, so that a resumed search neither replays nor diverges.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            self._study.sampler = self._at_seed(_bits(derive_seed("sampler", self._seed, *salt)))
        trial = self._study.ask()
        try:
            arch = self._space.realise(partial(suggest, trial))
        except ValidationError:
            self._study.tell(trial, state=TrialState.FAIL)
            return None
        self._numbers[trial.number] = len(self._numbers)
        frozen = self._study.get_trials(deepcopy=False)[trial.number]
        parents = tuple(self._numbers[number] for number in parents_of(frozen) if number in self._numbers)
        return Proposal(trial, arch, dict(trial.params), _notes(frozen), parents)

    def adopt(self, arch: Architecture, *salt: int) -> Proposal:
        """Return a proposal of a given point. Raises NotInSpace."""
        self._study.enqueue_trial(dict(self._space.encode(arch)))
        proposal = self.ask(*salt)
        if proposal is None:
            raise RuntimeError(f"the space refuses its own encoding of {arch.id}")
        return replace(proposal, parents=())

    def tell(self, proposal: Proposal, values: Mapping[str, float]) -> None:
        """Tell the measured values of a complete or stopped trial; without all objectives it counts as failed."""
        found = vector(self.objectives, values)
        if found is None:
            return self.drop(proposal)
        if self.limits:
            self._constrain(proposal, violation(self.limits, values))
        self._study.tell(proposal.trial.number, found)
        return None

    def amend(self, values: Mapping[int, Mapping[str, float]]) -> None:
        """Replace what was told of trials, by the numbers of their rows; those without all objectives stay."""
        places = {number: place for place, number in self._numbers.items()}
        trials = self._study.get_trials(deepcopy=False)
        for number, known in values.items():
            found = vector(self.objectives, known)
            if found is not None:
                # Optuna has no word for it: a finished trial's numbers are final there, and nobody copies them
                trials[places[number]].values = list(found)

    def refuse(self, proposal: Proposal, values: Mapping[str, float]) -> None:
        """Tell that a point is infeasible, with what is known of it."""
        self._constrain(proposal, self._excess(values))
        self._study.tell(proposal.trial.number, self._padded(values))

    def drop(self, proposal: Proposal) -> None:
        """Tell that a point failed, or has been seen before."""
        self._study.tell(proposal.trial.number, state=TrialState.FAIL)

    def rebuild(self, rows: Iterable[TrialRow]) -> dict[int, Proposal]:
        """Take in the stored trials in the order of their numbers; return the proposals of open ones by number."""
        open_: dict[int, Proposal] = {}
        count = len(self._study.get_trials(deepcopy=False))
        for number, row in enumerate(rows, start=count):
            self._numbers[number] = row.number
            if row.state in OPEN and row.rungs:
                frozen = self._frozen(row, self._walker.distributions(row.choices))
                self._study.add_trial(frozen)
                frozen.number = number
                open_[row.number] = Proposal(frozen, self._space.decode(row.choices), row.choices, {})
            elif row.state in OPEN:
                self._study.enqueue_trial(dict(row.choices))
                trial = self._study.ask()
                arch = self._space.realise(partial(suggest, trial))
                open_[row.number] = Proposal(trial, arch, row.choices, row.extra.get("sampler", {}))
            else:
                self._study.add_trial(self._frozen(row, self._walker.distributions(row.choices)))
        return open_

    def _frozen(self, row: TrialRow, distributions: Mapping[str, Any]) -> FrozenTrial:
        values: Sequence[float] | None = None
        constraints: dict[str, float] | None = None
        known = values_of(row)
        if row.state in ("complete", "stopped") or row.rungs:
            values = vector(self.objectives, known)
            constraints = {"limits": violation(self.limits, known)} if self.limits and values else None
        elif row.state == "infeasible":
            if PREDICTED in row.extra:
                known["latency_ms"] = row.extra[PREDICTED]
            values, constraints = self._padded(known), {"limits": self._excess(known)}
        return optuna.trial.create_trial(
            state=TrialState.COMPLETE if values is not None else TrialState.FAIL,
            values=values,
            params=row.choices,
            distributions=dict(distributions),
            constraints=constraints,
            system_attrs=dict(row.extra.get("sampler", {})),
        )

    def _constrain(self, proposal: Proposal, excess: float) -> None:
        if isinstance(proposal.trial, optuna.Trial):
            proposal.trial.set_constraint("limits", excess)

    def _excess(self, values: Mapping[str, float]) -> float:
        if "macs" not in values:
            return UNCOSTED
        return max(violation(self.limits, values), 1e-9)

    def _padded(self, values: Mapping[str, float]) -> list[float]:
        worst = {"max": 0.0, "min": WORST_MIN}
        found = [values.get(o.metric, worst[o.better]) for o in self.objectives]
        return [v if math.isfinite(v) else worst[o.better] for v, o in zip(found, self.objectives, strict=True)]


def _notes(trial: FrozenTrial) -> dict[str, Any]:
    return {k: v for k, v in trial.system_attrs.items() if not k.startswith(_OWN_ATTRIBUTES)}


def _bits(seed: int) -> int:
    """Return the part of a seed that Optuna's samplers take: 32 bits."""
    return seed & 0xFFFFFFFF
