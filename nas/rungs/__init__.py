"""Rung rules by name: each module of this package holds one, as `RULE`; its name is the module's.

`RULE` makes the rule from its reduction factor: one of so many trials goes on from each rung.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable

from nas.rung_rule import Rung, RungRule, Standing
from space.errors import NasError, nearest

__all__ = ["DEFAULT", "Rung", "RungRule", "Standing", "rung_rule", "rung_rule_names"]

DEFAULT = "none"
"""What a search takes where no rule is named. A search's budget counts trials, and of as many trials no rule finds a
better front than `none`: `nas bench fidelity --epochs 3 --equal trials --curves FILE`. Without `--equal`, for the same
CPU seconds, `pareto_halving` finds the better one, with about 1.8 times the trials."""


def rung_rule_names() -> list[str]:
    """Return the names of all rung rules, without importing them."""
    return sorted(info.name for info in pkgutil.iter_modules(__path__))


def rung_rule(name: str) -> Callable[[int], RungRule]:
    """Return what makes the rule of this name from a reduction factor. Raises NasError naming the nearest."""
    known = rung_rule_names()
    if name not in known:
        raise NasError(f"fidelity: {name!r} is unknown, known: {', '.join(known)}{nearest(name, known)}")
    found: Callable[[int], RungRule] = importlib.import_module(f"nas.rungs.{name}").RULE
    return found
