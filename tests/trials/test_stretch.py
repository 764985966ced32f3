"""A training in stretches: the same bits as in one go, and on smaller images and fewer of them."""

import random
from pathlib import Path

import pytest
import torch

from space import Architecture, DesignSpace
from space.mixers.random_mixing import RandomMixing
from trials.data import load_data
from trials.evaluator import Job, run_job
from trials.evaluators.surrogate import Surrogate
from trials.evaluators.train import Train, reduced
from trials.training import PROXY_RECIPE, Recipe, Stretch, fit
from trials.training.checkpoint import CheckpointError, read_checkpoint

MIXING = RandomMixing()
"""Its matrix has a row for each cell of the map."""
RECIPE = Recipe(
    name="all", epochs=4, epoch_images=128, batch_size=32, augment="strong", mixup=0.2, mix_probability=0.5, ema=0.9,
    validation_images=60, keep="best",
)  # fmt: skip


def network(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 4, 4), torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.Dropout(0.1),
        torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(32, 10),
    )  # fmt: skip


def trained(file, *stretches, resolution=None):
    """Train in these stretches, each in a network of its own; return the last, its result and the epochs reported."""
    seen = []
    for seed, stretch in enumerate(stretches):
        model = network(seed)
        data = load_data("digits", resolution=resolution(stretch) if resolution and stretch else None)
        result = fit(
            model, data, RECIPE, seed=3, checkpoint=file, stretch=stretch, on_epoch=lambda *told: seen.append(told)
        )
    return model, result, seen


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return trained(None, None)


@pytest.mark.parametrize("stops", [(1, 4), (2, 3, 4)])
def test_stretches_end_with_the_bits_of_a_training_in_one_go(whole, tmp_path, stops):
    starts = (0, *stops)
    parts = [Stretch(since=since, until=until) for since, until in zip(starts, stops, strict=False)]
    model, result, seen = trained(tmp_path / "fit.pt", *parts)
    assert seen == whole[2]
    assert result == whole[1]
    pairs = zip(model.state_dict().values(), whole[0].state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_stretch_returns_what_was_best_until_its_end_and_leaves_its_checkpoint(whole, tmp_path):
    file = tmp_path / "fit.pt"
    _, result, seen = trained(file, Stretch(until=2))
    assert [epoch for epoch, _ in seen] == [1, 2]
    assert result["accuracy"] == max(metrics["accuracy"] for _, metrics in whole[2][:2])
    assert read_checkpoint(file)["state"]["epoch"] == 2
    before = file.read_bytes()
    trained(file, Stretch(since=2, until=4))
    assert file.read_bytes() == before


def test_smaller_and_fewer_images_come_first_and_the_rest_is_judged_on_whole_ones(whole, tmp_path):
    parts = Stretch(until=2, resolution=0.75, images=0.5), Stretch(since=2, until=4)
    file = tmp_path / "fit.pt"
    full = load_data("digits").resolution
    _, result, seen = trained(file, *parts, resolution=lambda stretch: round(stretch.resolution * full))
    assert [epoch for epoch, _ in seen] == [1, 2, 3, 4]
    # the first epoch has half the steps, at the same height of the schedule as a whole one
    assert seen[0][1]["lr"] == pytest.approx(whole[2][0][1]["lr"], rel=0.3)
    assert seen[-1][1]["lr"] == whole[2][-1][1]["lr"]
    assert seen[0][1]["loss"] != whole[2][0][1]["loss"]
    assert result["accuracy"] == max(metrics["accuracy"] for _, metrics in seen[2:])


def test_a_checkpoint_between_stretches_is_of_no_other_training(tmp_path):
    trained(tmp_path / "fit.pt", Stretch(until=2))
    with pytest.raises(CheckpointError, match="its resolution is 'by stretches'"):
        trained(tmp_path / "fit.pt", None)


def point(seed=0) -> Architecture:
    return DesignSpace.load("tiny").sample(random.Random(seed))


def job(evaluator, folder: Path, stretch, **changes):
    recipe = PROXY_RECIPE.model_copy(update={"epochs": 3, "epoch_images": 64, "validation_images": 40})
    values = {"trial_number": 1, "arch": point(), "train_arch": point(), "recipe": recipe, "cost_resolution": 32}
    return Job(**(values | {"evaluators": (evaluator,), "checkpoint_dir": folder, "stretch": stretch} | changes))


@pytest.mark.parametrize("evaluator", [Train(), Surrogate(epochs=3)])
def test_staged_evaluators_go_on_from_their_checkpoint(tmp_path, evaluator):
    assert evaluator.staged
    once, epochs = [], []
    whole = run_job(job(evaluator, None, None), lambda *told: once.append(told))
    for since, until in ((0, 1), (1, 3)):
        stretch = Stretch(since=since, until=until, seconds=100.0 * since)
        found = run_job(job(evaluator, tmp_path, stretch), lambda *told: epochs.append(told))
        assert found["accuracy"].circumstances["epochs"] == until
    assert epochs == once
    assert {name: each.value for name, each in found.items()} == {name: each.value for name, each in whole.items()}
    if isinstance(evaluator, Train):
        assert found["accuracy"].circumstances["seconds"] > 100


def test_a_stretch_decides_nothing_of_the_result(tmp_path):
    plain = job(Train(), None, None)
    assert Train().decided_by(job(Train(), tmp_path, Stretch(since=1, until=3))) == Train().decided_by(plain)


def test_networks_are_trained_small_only_where_their_weights_fit_any_size():
    arch = point().fitted(32)
    assert reduced(arch, 32, 1.0) == 32
    assert reduced(arch, 32, 0.5) == 16
    mixing = [
        stage.model_copy(update={"pattern": tuple(b.model_copy(update={"token_mixer": MIXING}) for b in stage.pattern)})
        for stage in arch.stages
    ]
    assert reduced(arch.model_copy(update={"stages": tuple(mixing)}).fitted(32), 32, 0.5) == 32
