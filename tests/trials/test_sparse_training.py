"""Sparse training: masks hold after every step, exchanges keep the counts, and it goes on bit for bit."""

import signal

import pytest
import torch
from torch import nn

from trials.data import load_data
from trials.threads import torch_threads
from trials.training import Recipe, Sparsity, evaluate, fit
from trials.training.checkpoint import CheckpointError, read_checkpoint
from trials.training.densities import maskable, sparsity_of
from trials.training.run import Run
from trials.training.sparse_training import exchanged

BOTH = [{"ratios": "snip", "growth": "random"}, {"ratios": "erk", "growth": "gradient"}]


@pytest.fixture(autouse=True)
def one_thread():
    with torch_threads(1):
        yield


def recipe(**words):
    """Four epochs of 4 steps; weights are exchanged after steps 3, 6, 9, 12 and 15."""
    spec = Sparsity(sparsity=0.8, update_every=3, **words)
    return Recipe(
        name="x", epochs=4, epoch_images=128, batch_size=32, augment="light", mixup=0.2, cutmix=1.0,
        mix_probability=0.5, ema=0.9, validation_images=50, keep="best", sparsity=spec,
    )  # fmt: skip


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, 4), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 5, padding=2, groups=16),
        nn.Conv2d(16, 48, 1), nn.ReLU(), nn.Dropout(0.2), nn.Conv2d(48, 32, 2, 2), nn.AdaptiveAvgPool2d(2),
        nn.Flatten(), nn.LayerNorm(128), nn.Linear(128, 10),
    )  # fmt: skip


class Watched(Run):
    """A training of which every step is looked at. `scaler` takes the place of its own."""

    def __init__(self, recipe, scaler=None):
        self.model = network()
        super().__init__(self.model, load_data("digits"), recipe, 3, "cpu", 1)
        self._scaler = scaler or self._scaler
        self.steps, self.before = 0, {}
        self.changes: list[int] = []

    def _step(self, *args):
        loss = super()._step(*args)
        self.steps += 1
        weights, masks = maskable(self.model), self._sparse.masks
        assert sum(not mask.all() for mask in masks.values()) >= 3
        if any(name in self.before and not torch.equal(self.before[name], mask) for name, mask in masks.items()):
            self.changes.append(self.steps)
        for name, mask in masks.items():
            assert weights[name][~mask].count_nonzero() == 0, f"{name} at step {self.steps}"
            assert int(mask.sum()) == int(self.before.get(name, mask).sum())
            for moment in ("exp_avg", "exp_avg_sq"):
                assert self._optimizer.state[weights[name]][moment][~mask].count_nonzero() == 0
            average = self._ema.module.get_parameter(name)
            assert average[~mask].count_nonzero() == 0
            self._check_grown(weights[name], average, mask & ~self.before.get(name, mask))
        self.before = {name: mask.clone() for name, mask in masks.items()}
        return loss

    def _check_grown(self, weight, average, grown):
        """What has grown started at 0 without moments and made one step of the rate; so does its average start."""
        assert torch.equal(average[grown], weight[grown])
        assert weight[grown].abs().max() < 4 * self._recipe.lr if grown.any() else True
        if weight.grad.isfinite().all():
            torch.testing.assert_close(self._optimizer.state[weight]["exp_avg"][grown], 0.1 * weight.grad[grown])

    def train(self, epochs=4):
        for _ in range(epochs):
            self.train_epoch()
        return self


@pytest.mark.parametrize("words", BOTH, ids=["snip-random", "erk-gradient"])
def test_masks_hold_after_every_step_and_change_on_schedule(words):
    run = Watched(recipe(**words)).train()
    assert run.steps == 16
    assert run.changes == [3, 6, 9, 12, 15]
    for name, mask in run._sparse.masks.items():
        trained = maskable(run.model)[name][mask].count_nonzero()
        assert trained >= 0.98 * mask.sum(), "weights that never met a gradient are few"


def test_masks_hold_under_a_gradient_scaler():
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    run = Watched(recipe(growth="gradient"), scaler).train(2)
    assert run.changes == [3, 6]
    assert scaler.get_scale() == 2.0**10, "no step was left out"


def test_masks_hold_where_the_scaler_leaves_steps_out():
    """The scale overflows for good: the optimiser never steps, the schedule goes on, gradients say nothing."""
    run = Watched(recipe(growth="gradient"), torch.amp.GradScaler("cpu", init_scale=float("inf")))
    run.train(2)
    assert run.changes == [3, 6]
    start = maskable(network())
    for name, weight in maskable(run.model).items():
        assert not run._optimizer.state[weight]["exp_avg"].any()
        assert (torch.where(weight != 0, weight - start[name], 0) == 0).all(), "no step was made"


@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_the_weights_that_remain_are_as_sparse_as_asked(keep, ema):
    told = []
    model = network()
    result = fit(
        model, data := load_data("digits"), recipe().model_copy(update={"keep": keep, "ema": ema}), seed=1,
        on_epoch=lambda _, metrics: told.append(metrics["sparsity"]),
    )  # fmt: skip
    assert sparsity_of(model) == pytest.approx(0.8, abs=0.01)
    assert sparsity_of(model) in told
    assert evaluate(model, data.validation.sample(50), data) == result


def test_a_sparse_network_learns_the_digits():
    spec = Sparsity(sparsity=0.8, update_every=20)
    words = Recipe(name="x", epochs=8, batch_size=32, lr=5e-3, augment="none", sparsity=spec)
    model = network()
    assert fit(model, load_data("digits"), words, seed=3)["accuracy"] > 0.85
    assert sparsity_of(model) == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("words", BOTH, ids=["snip-random", "erk-gradient"])
def test_a_resumed_training_ends_with_the_same_bits(words, tmp_path):
    def train(name, seed, stop=None):
        def on_epoch(epoch, _):
            if epoch == stop:
                signal.raise_signal(signal.SIGINT)

        model, file = network(seed), tmp_path / name
        result = fit(model, load_data("digits"), recipe(**words), seed=3, checkpoint=file, on_epoch=on_epoch)
        return result, model.state_dict(), read_checkpoint(file)["state"]

    whole = train("whole", 0)
    with pytest.raises(KeyboardInterrupt):
        train("cut", 0, stop=2)
    halfway = read_checkpoint(tmp_path / "cut")["state"]
    resumed = train("cut", 77)
    assert whole[0] == resumed[0]
    for first, second in ((whole[1], resumed[1]), *((whole[2][k], resumed[2][k]) for k in ("model", "ema", "masks"))):
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first)
    assert len(whole[2]["masks"]) >= 3
    assert not any(torch.equal(mask, halfway["masks"][name]) for name, mask in whole[2]["masks"].items())


def test_a_sparse_training_does_not_go_on_from_a_dense_one_nor_the_other_way(tmp_path):
    sparse = recipe()
    dense = sparse.model_copy(update={"sparsity": None})

    def train(words, file):
        fit(network(), load_data("digits"), words.model_copy(update={"epochs": 1}), seed=0, checkpoint=tmp_path / file)

    train(sparse, "sparse")
    train(dense, "dense")
    assert "masks" not in read_checkpoint(tmp_path / "dense")["state"]
    with pytest.raises(CheckpointError, match=r"its recipe.sparsity is None, this one's is .*0\.8"):
        train(sparse, "dense")
    with pytest.raises(CheckpointError, match=r"its recipe.sparsity is .*0\.8.*, this one's is None"):
        train(dense, "sparse")
    with pytest.raises(CheckpointError, match=r"its recipe.sparsity is "):
        train(recipe(growth="gradient"), "sparse")


def test_an_exchange_prunes_the_smallest_and_grows_the_largest_gradients():
    weight = torch.tensor([[5.0, -1.0, 0.0, 0.0], [-0.5, 4.0, 0.0, 3.0]])
    steepness = torch.tensor([[9.0, 0.0, 3.0, 1.0], [0.5, 9.0, 2.0, 9.0]])
    new, changed = exchanged(weight != 0, weight, 0.3, steepness, torch.Generator())
    assert new.tolist() == [[True, False, True, False], [False, True, True, True]]
    assert changed.tolist() == [[False, True, True, False], [True, False, True, False]]
    assert weight[0, 1] == -1, "the weights themselves are left to the caller"


def test_a_pruned_weight_may_return_and_counts_as_changed():
    weight = torch.tensor([1.0, 0.1, 2.0, 0.0])
    new, changed = exchanged(weight != 0, weight, 0.3, torch.tensor([0.0, 5.0, 0.0, 1.0]), torch.Generator())
    assert new.tolist() == [True, True, True, False]
    assert changed.tolist() == [False, True, False, False]


@pytest.mark.parametrize("density", [0.02, 0.5, 0.97])
@pytest.mark.parametrize("rate", [0.005, 0.3, 0.99])
@pytest.mark.parametrize("steep", [False, True])
def test_an_exchange_keeps_the_number_of_active_weights(density, rate, steep):
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(8, 5, 5, 5, generator=generator).to(memory_format=torch.channels_last)
    mask = torch.rand(8, 5, 5, 5, generator=generator) < density
    steepness = torch.randn(8, 5, 5, 5, generator=generator).abs() if steep else None
    new, changed = exchanged(mask, weight * mask, rate, steepness, generator)
    assert int(new.sum()) == int(mask.sum())
    pruned = mask & ~new
    assert not (pruned & ~changed).any()
    assert int((mask & changed).sum()) == -int(-rate * int(mask.sum()) // 1)
    kept = mask & ~changed
    assert weight[mask & changed].abs().max() <= weight[kept].abs().min() if kept.any() else True


def test_random_growth_is_uniform_over_what_is_idle():
    weight = torch.zeros(10)
    weight[:4] = torch.tensor([4.0, 3.0, 2.0, 1.0])
    generator = torch.Generator().manual_seed(0)
    grown = torch.zeros(10)
    for _ in range(3000):
        grown += exchanged(weight != 0, weight, 0.25, None, generator)[0]
    assert grown[:3].tolist() == [3000] * 3
    assert grown[3:].min() > 350  # each of 7 is expected 429 times, with deviation 19
    assert grown[3:].max() < 510
