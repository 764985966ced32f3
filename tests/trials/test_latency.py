"""Latency: a median with its spread, and nothing left behind."""

import pytest
import torch
from torch import nn

from space import NasError, cost, named
from trials.latency import measure_deployed, measure_latency
from trials.threads import torch_threads


class Watching(nn.Module):
    """Notes the circumstances of each run."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3)
        self.seen = []

    def forward(self, x):
        layout = x.is_contiguous(memory_format=torch.channels_last)
        self.seen.append(
            (tuple(x.shape), layout, self.training, torch.is_inference_mode_enabled(), torch.get_num_threads())
        )
        return self.layer(x)


@pytest.mark.parametrize(("mode", "training"), [("inference", False), ("train", True)])
def test_runs_are_what_the_circumstances_say(mode, training):
    model = Watching().train(not training)
    threads = torch.get_num_threads()
    measured = measure_latency(model, (2, 3, 16, 12), threads=threads + 1, repeats=10, seconds=60, mode=mode)
    assert set(model.seen) == {((2, 3, 16, 12), True, training, mode == "inference", threads + 1)}
    assert len(model.seen) == 11
    assert torch.get_num_threads() == threads
    assert model.training is not training
    assert all(p.grad is None for p in model.parameters())
    assert measured.unit == "ms"
    assert measured.value > 0
    assert measured.spread is not None
    assert measured.spread >= 0
    expected = {"device": "cpu", "threads": threads + 1, "repeats": 10, "mode": mode, "shape": "2x3x16x12"}
    assert expected.items() <= measured.circumstances.items()


@pytest.mark.parametrize(("name", "merges"), [("unireplknet_a", True), ("convnext_atto", False)])
def test_the_deployed_form_is_timed_and_said(monkeypatch, name, merges):
    timed = []

    def noted(model, *words, **options):
        timed.append(model)
        return measure_latency(model, *words, **options)

    monkeypatch.setattr("trials.latency.measure_latency", noted)
    arch = named(name).arch
    measured = measure_deployed(arch, (1, 3, 32, 32), repeats=3)
    (network,) = timed
    assert network.architecture == arch.merged()
    assert (network.architecture != arch) is merges
    assert sum(p.numel() for p in network.parameters()) == cost(arch.merged()).params
    assert measured.circumstances.get("form") == ("merged" if merges else None)
    assert measured.circumstances["shape"] == "1x3x32x32"


def test_slow_networks_are_run_less_often():
    model = Watching()
    measured = measure_latency(model, (1, 3, 8, 8), repeats=1000, seconds=0.0)
    assert measured.circumstances["repeats"] == 3
    assert len(model.seen) == 4


def test_median_and_spread_are_those_of_the_times(monkeypatch):
    starts = [0, 0, 0.5, 0.5, 0]  # of all, of the one run to warm up, and of the timed ones
    runs = [
        (0, 0.001),
        (0, 0.002),
        (0, 0.003),
        (0, 0, 0.004),
        (0, 0, 0.1),
    ]  # later ones look at the limit
    ticks = iter(starts + [tick for run in runs for tick in run])
    monkeypatch.setattr("trials.latency.time.perf_counter", lambda: next(ticks))
    measured = measure_latency(nn.Flatten(), (1, 3, 8, 8), repeats=5, seconds=60)
    assert measured.value == pytest.approx(3)
    assert measured.spread == pytest.approx(2)


@pytest.mark.parametrize(
    "words", [{"shape": (1, 3, 0, 8)}, {"shape": (3, 8, 8)}, {"repeats": 2}, {"threads": 0}, {"mode": "fast"}]
)
def test_nonsense_is_refused(words):
    with pytest.raises(NasError, match=r"latency: .* allowed: "):
        measure_latency(nn.Identity(), **({"shape": (1, 3, 8, 8)} | words))


def test_threads_come_back_after_an_error():
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="stop"), torch_threads(before + 2):
        assert torch.get_num_threads() == before + 2
        raise RuntimeError("stop")
    assert torch.get_num_threads() == before
