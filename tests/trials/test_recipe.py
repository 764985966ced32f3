"""Recipes: closed values that fit themselves to the size of the data."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from space import NasError
from trials.training import FULL_RECIPE, PROXY_RECIPE, Recipe
from trials.training.recipe import recipe
from trials.training.run import rate


def test_both_recipes_are_found_by_name():
    assert recipe("proxy") is PROXY_RECIPE
    assert recipe("full") is FULL_RECIPE
    with pytest.raises(NasError, match=r"recipe: 'ful' is unknown, known: proxy, full; did you mean 'full'\?"):
        recipe("ful")


def test_a_recipe_survives_json_and_refuses_what_it_does_not_know():
    assert Recipe.model_validate_json(FULL_RECIPE.model_dump_json()) == FULL_RECIPE
    with pytest.raises(ValidationError):
        Recipe(name="x", momentum=0.9)
    with pytest.raises(ValidationError):
        Recipe(name="x", label_smoothing=1.0)


def test_epochs_follow_from_the_images_to_see():
    short = Recipe(name="x", images=1000, least_epochs=2, most_epochs=50, batch_size=16)
    assert short.for_data(100).epochs == 10
    assert short.for_data(10_000).epochs == 2
    assert short.for_data(3).epochs == 50
    assert short.model_copy(update={"epochs": 7}).for_data(100).epochs == 7
    assert short.model_copy(update={"epoch_images": 200}).for_data(10_000).epochs == 5


def test_small_data_get_small_batches():
    wide = Recipe(name="x", batch_size=128)
    assert wide.for_data(100_000).batch_size == 128
    assert wide.for_data(640).batch_size == 40
    assert wide.for_data(9).batch_size == 8
    assert Recipe(name="x", batch_size=2).for_data(9).batch_size == 2


def test_short_trainings_do_without_mixing():
    mixing = Recipe(name="x", epochs=5, mixup=0.2, mix_probability=0.5, mix_epochs=6)
    assert mixing.for_data(100).mix_probability == 0
    assert mixing.model_copy(update={"epochs": 6}).for_data(100).mix_probability == 0.5


def test_fitting_a_recipe_twice_changes_nothing():
    once = FULL_RECIPE.for_data(54_000)
    assert once.for_data(54_000) == once


def test_the_rate_rises_then_falls_to_zero():
    rates = [rate(step, 100, 0.1) for step in range(100)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert max(rates) == 1
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[55] == pytest.approx(0.5)
    assert 0 < rates[-1] < 0.001
    assert 0 < rate(0, 1, 0.0) <= 1


def test_recipes_and_jobs_are_read_without_the_training_libraries():
    script = """
import sys
from trials.evaluator import Job
from trials.training import FULL_RECIPE
Job.model_json_schema()
sys.exit(sorted({"timm", "torchvision"} & set(sys.modules)) or 0)
"""
    ended = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
