"""Train a network by a frozen recipe, deterministically, with checkpoints.

Names are imported on first use: recipes are read by processes that never train, and the training libraries take seconds
to import.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trials.training.evaluation import evaluate
    from trials.training.failure import TrainingFailed
    from trials.training.loop import fit
    from trials.training.recipe import FULL_RECIPE, PROXY_RECIPE, RECIPES, Recipe
    from trials.training.sparsity import Sparsity
    from trials.training.stretch import Stretch

_HOME = {
    "FULL_RECIPE": "recipe",
    "PROXY_RECIPE": "recipe",
    "RECIPES": "recipe",
    "Recipe": "recipe",
    "Sparsity": "sparsity",
    "Stretch": "stretch",
    "TrainingFailed": "failure",
    "evaluate": "evaluation",
    "fit": "loop",
}

__all__ = [
    "FULL_RECIPE",
    "PROXY_RECIPE",
    "RECIPES",
    "Recipe",
    "Sparsity",
    "Stretch",
    "TrainingFailed",
    "evaluate",
    "fit",
]


def __getattr__(name: str) -> Any:
    """Import the module that holds `name`."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
