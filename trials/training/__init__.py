"""Train a network by a frozen recipe, deterministically, with checkpoints."""

from trials.training.evaluation import evaluate
from trials.training.failure import TrainingFailed
from trials.training.loop import fit
from trials.training.recipe import FULL_RECIPE, PROXY_RECIPE, RECIPES, Recipe, recipe

__all__ = ["FULL_RECIPE", "PROXY_RECIPE", "RECIPES", "Recipe", "TrainingFailed", "evaluate", "fit", "recipe"]
