"""Training: it learns, repeats bit for bit, goes on after any interruption, and fails with a reason."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from trials.data import load_data
from trials.training import Recipe, TrainingFailed, evaluate, fit
from trials.training.checkpoint import CheckpointError
from trials.training.precision import half_type

ALL = Recipe(
    name="all", epochs=4, epoch_images=256, batch_size=32, augment="strong", erase=0.2, mixup=0.2, cutmix=1.0,
    mix_probability=0.5, ema=0.9, validation_images=100, keep="best",
)  # fmt: skip
SHORT = Recipe(name="short", epochs=2, epoch_images=128, batch_size=32, validation_images=50)


def network(seed=0, classes=10):
    """A small network with every kind of state: batch norm, dropout, one-dimensional scales."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, 4), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 2, 2), nn.ReLU(), nn.Dropout(0.1),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.LayerNorm(128), nn.Linear(128, classes),
    )  # fmt: skip


def run(recipe=ALL, *, seed=3, model=None, **words):
    model = model or network()
    seen = []
    result = fit(
        model,
        load_data("digits"),
        recipe,
        seed=seed,
        on_epoch=lambda epoch, metrics: seen.append((epoch, metrics)),
        **words,
    )
    return model, result, seen


def same_weights(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.fixture(scope="module")
def uninterrupted():
    return run()


def test_it_learns_the_digits():
    recipe = Recipe(name="x", epochs=8, batch_size=32, lr=5e-3, augment="none")
    _, result, seen = run(recipe)
    assert result["accuracy"] > 0.9
    assert [epoch for epoch, _ in seen] == list(range(1, 9))
    assert set(seen[0][1]) == {"accuracy", "loss", "train_loss", "lr"}
    assert seen[-1][1]["train_loss"] < seen[0][1]["train_loss"]


def test_the_same_seed_gives_the_same_bits(uninterrupted):
    model, result, seen = uninterrupted
    torch.manual_seed(999)
    again, result_again, seen_again = run(model=network())
    assert same_weights(model, again)
    assert (result, seen) == (result_again, seen_again)
    other, _, _ = run(seed=4)
    assert not same_weights(model, other)


def test_random_state_and_threads_are_given_back():
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    model = network()
    before = torch.get_rng_state()
    inside = []
    fit(model, load_data("digits"), SHORT, seed=0, threads=threads + 1,
        on_epoch=lambda *_: inside.append(torch.get_num_threads()))  # fmt: skip
    assert inside == [threads + 1] * 2
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), before)


def test_the_kept_weights_give_the_reported_accuracy(uninterrupted):
    model, result, seen = uninterrupted
    data = load_data("digits")
    assert evaluate(model, data.validation.sample(100), data) == result
    assert result["accuracy"] == max(metrics["accuracy"] for _, metrics in seen)


def test_keep_last_keeps_the_last_epoch():
    _, result, seen = run(ALL.model_copy(update={"keep": "last"}))
    assert result == {name: seen[-1][1][name] for name in ("accuracy", "loss")}


@pytest.mark.parametrize("stop_after", [1, 3])
def test_an_interrupted_training_ends_with_the_same_bits(uninterrupted, tmp_path, stop_after):
    model, result, seen = uninterrupted
    file = tmp_path / "deep" / "fit.pt"

    def interrupt(epoch, _):
        if epoch == stop_after:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit(network(), load_data("digits"), ALL, seed=3, checkpoint=file, on_epoch=interrupt)
    resumed, result_resumed, rest = run(model=network(seed=77), checkpoint=file)
    assert [epoch for epoch, _ in rest] == list(range(stop_after + 1, 5))
    assert same_weights(model, resumed)
    assert result == result_resumed
    assert rest == seen[stop_after:]


def test_a_killed_process_is_gone_on_from(uninterrupted, tmp_path):
    file = tmp_path / "fit.pt"
    script = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_fit import ALL, network
from trials.data import load_data
from trials.training import fit
fit(network(), load_data("digits"), ALL, seed=3, checkpoint=Path({str(file)!r}),
    on_epoch=lambda epoch, _: epoch == 2 and os.kill(os.getpid(), signal.SIGKILL))
"""
    ended = subprocess.run([sys.executable, "-c", script], check=False, env=dict(os.environ))
    assert ended.returncode == -signal.SIGKILL
    resumed, result, rest = run(model=network(seed=77), checkpoint=file)
    assert len(rest) == 2
    assert same_weights(uninterrupted[0], resumed)
    assert result == uninterrupted[1]


def test_a_finished_training_is_not_trained_again(uninterrupted, tmp_path):
    file = tmp_path / "fit.pt"
    run(checkpoint=file)
    model, result, seen = run(model=network(seed=5), checkpoint=file)
    assert seen == []
    assert result == uninterrupted[1]
    assert same_weights(model, uninterrupted[0])


def test_without_resuming_it_starts_anew(tmp_path):
    run(SHORT, checkpoint=tmp_path / "fit.pt")
    _, _, seen = run(SHORT, checkpoint=tmp_path / "fit.pt", resume=False)
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 4}, "its seed is '3', this one's is '4'"),
        ({"recipe": SHORT.model_copy(update={"lr": 1e-4})}, "its recipe.lr is '0.002', this one's is '0.0001'"),
        ({"model": nn.Sequential(nn.Flatten(), nn.Linear(1024, 10))}, "its network is"),
    ],
)
def test_the_checkpoint_of_another_training_is_refused(tmp_path, change, said):
    run(SHORT, checkpoint=tmp_path / "fit.pt")
    with pytest.raises(CheckpointError, match=f"belongs to another training, {said}"):
        run(**({"recipe": SHORT, "checkpoint": tmp_path / "fit.pt"} | change))


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 cut short"])
def test_a_damaged_checkpoint_is_refused(tmp_path, content):
    (tmp_path / "fit.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"fit\.pt: cannot be read"):
        run(SHORT, checkpoint=tmp_path / "fit.pt")


@pytest.mark.parametrize("trouble", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_checkpoint_before_it(tmp_path, monkeypatch, trouble):
    file = tmp_path / "fit.pt"
    real, calls = os.fsync, []

    def fsync(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:
            raise trouble
        real(descriptor)

    monkeypatch.setattr("os.fsync", fsync)
    with pytest.raises((CheckpointError, KeyboardInterrupt)) as caught:
        run(checkpoint=file)
    if isinstance(trouble, OSError):
        assert str(caught.value) == f"{file}: cannot be written (No space left on device)"
    assert [path.name for path in tmp_path.iterdir()] == ["fit.pt"]
    _, _, rest = run(checkpoint=file)
    assert [epoch for epoch, _ in rest] == [2, 3, 4]


class Poisoned(nn.Module):
    """Gives NaN from some forward pass on."""

    def __init__(self, start):
        super().__init__()
        self.layer, self.calls, self.start = nn.Linear(1024, 10), 0, start

    def forward(self, x):
        self.calls += self.training
        return self.layer(x.flatten(1)) * (float("nan") if self.calls >= self.start else 1.0)


def test_a_loss_that_is_not_finite_fails_with_epoch_and_step():
    with pytest.raises(TrainingFailed, match=r"training: epoch 2 of 4: the loss is not finite at step 3$"):
        run(ALL.model_copy(update={"ema": 0.0}), model=Poisoned(start=16 + 3))


def test_divergence_fails():
    class Exploding(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(1024, 10)

        def forward(self, x):
            return 1e4 * self.layer(x.flatten(1))

    with pytest.raises(TrainingFailed, match="epoch 1 of 2: diverged, the training loss is"):
        run(SHORT.model_copy(update={"lr": 100.0}), model=Exploding())


def test_a_network_for_other_classes_or_sizes_is_refused():
    with pytest.raises(TrainingFailed, match="the network has 7 classes, the data 10"):
        run(SHORT, model=network(classes=7))
    with pytest.raises(TrainingFailed, match="recipe 'short': 64 px, but the data has 32 px"):
        run(SHORT.model_copy(update={"resolution": 64}))


def test_scales_and_biases_do_not_decay():
    class Still(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(4))
            self.matrix = nn.Parameter(torch.ones(4, 4))
            self.layer = nn.Linear(1024, 10)

        def forward(self, x):
            return self.layer(x.flatten(1)) + 0 * self.scale.sum() + 0 * self.matrix.sum()

    model = Still()
    run(SHORT.model_copy(update={"weight_decay": 0.5, "lr": 0.01}), model=model)
    assert torch.equal(model.scale, torch.ones(4))
    assert model.matrix.max() < 1


def test_evaluation_counts_and_leaves_the_mode():
    data = load_data("digits")

    class Knowing(nn.Module):
        """Right on all images but the first three."""

        def __init__(self):
            super().__init__()
            self.start = 0

        def forward(self, x):
            labels = data.validation.labels[self.start : self.start + len(x)].clone()
            labels[: max(0, 3 - self.start)] += 1
            self.start += len(x)
            return 20.0 * nn.functional.one_hot(labels % 10, 10)

    model = Knowing().train()
    result = evaluate(model, data.validation, data, batch_size=50)
    assert result["accuracy"] == pytest.approx(1 - 3 / 287)
    assert result["loss"] == pytest.approx(3 * 20 / 287, rel=1e-3)
    assert model.training


def test_lazy_images_train_like_images_in_memory(tmp_path, monkeypatch):
    import numpy
    from PIL import Image

    for label in range(2):
        (tmp_path / f"class{label}").mkdir()
        for index in range(20):
            pixels = numpy.random.default_rng(index + 50 * label).integers(0, 256, (32, 32), dtype=numpy.uint8)
            Image.fromarray(pixels).save(tmp_path / f"class{label}" / f"{index}.png")
    results = []
    for limit in (2**20, 0):
        monkeypatch.setattr("trials.data.pictures.MEMORY_BYTES", limit)
        for seed in (1, 2):
            load_data("digits", seed=seed)  # the cache holds two
        data = load_data(str(tmp_path))
        assert data.train.lazy == (limit == 0)
        model = network(classes=2)
        results.append((fit(model, data, SHORT, seed=0, threads=2), model))
    assert results[0][0] == results[1][0]
    assert same_weights(results[0][1], results[1][1])


def test_half_precision_is_for_gpus():
    assert half_type("cpu") is None
