"""How weights start: as the code of each family starts them, by the statistics of freshly built networks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from space import Architecture, build, named


@pytest.mark.parametrize(
    "name", ["convnext_atto", "convnextv2_atto", "inceptionnext_atto", "caformer_s18", "poolformer_s12"]
)
def test_weights_start_as_published(name: str) -> None:
    torch.manual_seed(0)
    for key, p in build(named(name).arch).named_parameters():
        fan_in_start = name == "poolformer_s12" and (key.startswith("stem") or "downsample" in key)
        if p.ndim > 1:
            deviation = (3 * p[0].numel()) ** -0.5 if fan_in_start else 0.02
            assert float(p.detach().std()) == pytest.approx(deviation, rel=0.15), key
            assert float(p.detach().mean()) == pytest.approx(0, abs=5 * deviation / p.numel() ** 0.5), key
        elif "layer_scale" in key:
            assert (p == (1e-5 if name == "poolformer_s12" else 1e-6)).all(), key
        elif "grn" in key or (key.endswith("bias") and not fan_in_start):
            assert (p == 0).all(), key
        elif not fan_in_start:
            assert (p == 1).all(), key


def narrow(name: str) -> Architecture:
    """The network of that name with a quarter of its widths."""
    arch = named(name).arch
    stages = tuple(stage.model_copy(update={"width": stage.width // 4}) for stage in arch.stages)
    return arch.model_copy(update={"stages": stages})


def weights(name: str) -> Iterator[tuple[str, Tensor]]:
    torch.manual_seed(0)
    for key, parameter in build(narrow(name)).named_parameters():
        yield key, parameter.detach()


def deviates(key: str, tensor: Tensor, deviation: float) -> None:
    """Check mean and deviation of what was drawn, as closely as its number allows."""
    count = tensor.numel()
    assert float(tensor.mean()) == pytest.approx(0, abs=5 * deviation / count**0.5), key
    assert float(tensor.std()) == pytest.approx(deviation, rel=5 / (2 * count) ** 0.5), key


@pytest.mark.parametrize("name", ["replknet_31b", "replknet_xl"])
def test_replknet_starts_as_pytorch_starts_its_layers(name: str) -> None:
    bounds: dict[str, float] = {}
    for key, tensor in weights(name):
        layer = key.rpartition(".")[0]
        if tensor.ndim > 1:
            bounds[layer] = bound = tensor[0].numel() ** -0.5
            assert 0.9 * bound < float(tensor.abs().max()) <= bound, key
            deviates(key, tensor, bound / 3**0.5)
        elif layer in bounds:
            assert layer == "head.fc", "no other layer has a bias"
            assert 0.9 * bounds[layer] < float(tensor.abs().max()) <= bounds[layer]
            deviates(key, tensor, bounds[layer] / 3**0.5)
        else:
            assert (tensor == float(key.endswith("weight"))).all(), key


@pytest.mark.parametrize("name", ["slak_tiny", "convnext_tiny_31_29_27_13", "convnext_tiny_l2s"])
def test_slak_starts_normal(name: str) -> None:
    for key, tensor in weights(name):
        if tensor.ndim > 1:
            deviates(key, tensor, 0.02)
            assert float(tensor.abs().max()) > 0.045, "drawn from a normal distribution"
        elif "layer_scale" in key:
            assert (tensor == 1e-6).all()
        else:
            assert (tensor == float(key.endswith("weight"))).all(), key


@pytest.mark.parametrize("name", ["unireplknet_a", "unireplknet_t"])
def test_unireplknet_starts_normal(name: str) -> None:
    for key, tensor in weights(name):
        if tensor.ndim > 1:
            deviates(key, tensor, 0.02)
        elif "layer_scale" in key:
            assert (tensor == 1e-6).all()
        else:
            assert (tensor == float(key.endswith("weight") and "grn" not in key)).all(), key
