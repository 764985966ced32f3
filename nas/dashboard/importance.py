"""What choices do to an objective: importance by PED-ANOVA, effects, coverage; of an even sample of the trials.

Source:  Watanabe et al., PED-ANOVA, IJCAI 2023 (arXiv:2304.10255), as in Optuna. A choice is judged among the trials
that make it, as most choices are open only under others.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

LEAST = 20
"""Trials that a choice must have been made in to be judged."""
_ALTERNATIVES = 30


@dataclass(frozen=True)
class Sample:
    """Complete trials with their choices and the value of an objective."""

    numbers: Sequence[int]
    choices: Sequence[Mapping[str, Any]]
    values: Sequence[float]

    def column(self, path: str) -> list[Any]:
        """Return one choice for every trial, None where it was not open."""
        return [choices.get(path) for choices in self.choices]

    def paths(self) -> list[str]:
        """Return the choices that vary, those made in the most trials first."""
        made: dict[str, list[Any]] = {}
        for choices in self.choices:
            for path, value in choices.items():
                made.setdefault(path, []).append(value)
        varied = {path: len(values) for path, values in made.items() if len(set(map(repr, values))) > 1}
        return sorted(varied, key=lambda path: -varied[path])


def importances(sample: Sample, better: str) -> dict[str, float]:
    """Return the importance of each choice that was made often enough; they add to 1."""
    import optuna
    from optuna.exceptions import ExperimentalWarning

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    found: dict[str, float] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        direction = "maximize" if better == "max" else "minimize"
        for path in sample.paths():
            made = [(v, y) for v, y in zip(sample.column(path), sample.values, strict=True) if v is not None]
            if len(made) < LEAST:
                break
            distribution = _distribution([value for value, _ in made])
            if distribution is None:
                continue
            study = optuna.create_study(direction=direction)
            study.add_trials(
                [
                    optuna.trial.create_trial(params={"x": value}, distributions={"x": distribution}, value=y)
                    for value, y in made
                ]
            )
            score = evaluator.evaluate(study, params=["x"])["x"]
            # a choice that is seldom open matters for as many trials as have it
            found[path] = max(0.0, float(score)) * len(made) / len(sample.values)
    whole = sum(found.values()) or 1.0
    return {path: value / whole for path, value in sorted(found.items(), key=lambda item: -item[1])}


def _distribution(values: Sequence[Any]) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    kinds = {type(value) for value in values}
    distinct = list(dict.fromkeys(values))
    if len(distinct) < 2:
        return None
    if kinds == {int} and len(distinct) > 4:
        return IntDistribution(min(values), max(values))
    if kinds <= {int, float} and len(distinct) > 8:
        return FloatDistribution(float(min(values)), float(max(values)))
    return CategoricalDistribution(distinct) if len(distinct) <= _ALTERNATIVES else None


def effects(sample: Sample, path: str, most: int = 10) -> dict[str, list[float]]:
    """Return the objective's values for each value of a choice; numbers of many values in `most` ranges."""
    made = [(value, y) for value, y in zip(sample.column(path), sample.values, strict=True) if value is not None]
    distinct = list(dict.fromkeys(value for value, _ in made))
    numeric = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in distinct)
    groups: dict[str, list[float]] = {}
    if numeric and len(distinct) > most:
        edges = np.quantile([value for value, _ in made], np.linspace(0, 1, most + 1)[1:-1])
        parts: dict[int, list[tuple[float, float]]] = {}
        for value, y in sorted(made):
            parts.setdefault(int(np.searchsorted(edges, value)), []).append((value, y))
        for pairs in parts.values():
            low, high = pairs[0][0], pairs[-1][0]
            groups[f"{low:g}" if low == high else f"{low:g} to {high:g}"] = [y for _, y in pairs]
        return groups
    order = sorted(made, key=lambda pair: pair[0]) if numeric else sorted(made, key=lambda pair: str(pair[0]))
    for value, y in order:
        groups.setdefault(f"{value:g}" if numeric else str(value), []).append(y)
    return groups


def coverage(sample: Sample, domains: Mapping[str, Any]) -> list[tuple[str, int, int, int]]:
    """Return (choice, trials, values tried, values there are) of each choice that was open."""
    from space.walk import support

    found: list[tuple[str, int, int, int]] = []
    for path, domain in domains.items():
        tried = [value for value in sample.column(path) if value is not None]
        allowed = support(domain)
        # a range of floats has no count; its support is its ends
        found.append((path, len(tried), len(set(tried)), max(len(allowed), len(set(tried)))))
    return found
