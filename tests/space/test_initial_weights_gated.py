"""How the weights of VAN, HorNet, FocalNet and MogaNet start, by the statistics of freshly built networks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from space import build, named

Drawn = dict[str, Tensor]


def drawn(name: str) -> Drawn:
    """The initial weights of the network of that name at a quarter of its widths and with 2 blocks a stage."""
    arch = named(name).arch
    narrower = (s.model_copy(update={"width": s.width // 4, "depth": min(s.depth, 2)}) for s in arch.stages)
    torch.manual_seed(0)
    network = build(arch.model_copy(update={"stages": tuple(narrower)}))
    return {key: parameter.detach() for key, parameter in network.named_parameters()}


def check_normal(key: str, tensor: Tensor, deviation: float) -> None:
    """Check mean, deviation and tails, as closely as the number of values allows."""
    count = tensor.numel()
    assert float(tensor.mean()) == pytest.approx(0, abs=5 * deviation / count**0.5), key
    if count > 1:
        assert float(tensor.std()) == pytest.approx(deviation, rel=5 / (2 * count) ** 0.5), key
    if count > 500:
        assert float(tensor.abs().max()) > 2.2 * deviation, f"{key} is no normal draw"


def check_uniform(key: str, tensor: Tensor, bound: float) -> None:
    """Check bound, mean and deviation, as closely as the number of values allows."""
    count = tensor.numel()
    assert float(tensor.abs().max()) <= bound, key
    assert float(tensor.mean()) == pytest.approx(0, abs=5 * bound / (3 * count) ** 0.5), key
    if count > 20:
        assert float(tensor.std()) == pytest.approx(bound / 3**0.5, rel=4 / count**0.5), key


def check_rest(weights: Drawn, layer_scale: float) -> None:
    """Check what is not drawn: norms are the identity, the scales of MogaNet's decompositions are 1e-5."""
    for key, tensor in weights.items():
        layer, _, leaf = key.rpartition(".")
        if layer.endswith(("decompose", "aggregation")):
            assert (tensor == 1e-5).all(), key
        elif "layer_scale" in layer:
            assert (tensor == layer_scale).all(), key
        elif "norm" in layer:
            assert (tensor == float(leaf == "weight")).all(), key


def layers(weights: Drawn) -> list[tuple[str, Tensor, Tensor | None]]:
    """Name, weight and bias of each layer that is drawn."""
    found = [key.removesuffix(".weight") for key, w in weights.items() if w.ndim > 1 and key.endswith(".weight")]
    assert len(found) >= 20
    return [(layer, weights[f"{layer}.weight"], weights.get(f"{layer}.bias")) for layer in found]


@pytest.mark.parametrize(("name", "layer_scale"), [("van_b0", 1e-2), ("moganet_xtiny", 1e-5)])
def test_convolutions_of_van_and_moganet_start_by_their_fan_out(name: str, layer_scale: float) -> None:
    """All layers but the classifier are convolutions in the authors' code, pointwise ones too."""
    weights = drawn(name)
    for layer, weight, bias in layers(weights):
        depthwise = weight.ndim == 4 and weight.shape[1] == 1
        outputs = (1 if depthwise else weight.shape[0]) * math.prod(weight.shape[2:])
        check_normal(layer, weight, 0.02 if layer == "head.fc" else math.sqrt(2 / outputs))
        assert bias is not None
        assert (bias == 0).all(), layer
    check_rest(weights, layer_scale)


def test_the_layer_that_gathers_channels_has_a_fan_out_of_one() -> None:
    weights = drawn("moganet_xtiny")
    gathering = torch.cat([w for key, w in weights.items() if key.endswith("gather.weight")], dim=1)
    check_normal("gather", gathering, math.sqrt(2))


@pytest.mark.parametrize("name", ["hornet_tiny_7x7", "hornet_tiny_gf"])
def test_hornet_starts_normal(name: str) -> None:
    weights = drawn(name)
    for layer, weight, bias in layers(weights):
        check_normal(layer, weight, 0.02)
        assert bias is None or (bias == 0).all(), layer
    spectra = [tensor for key, tensor in weights.items() if key.endswith("spectrum")]
    assert len(spectra) == (4 if name.endswith("gf") else 0)
    for spectrum in spectra:
        check_normal("real part", spectrum[..., 0], 0.02)
        check_normal("imaginary part", spectrum[..., 1], 0.02)
    check_rest(weights, 1e-6)


@pytest.mark.parametrize("name", ["focalnet_tiny_srf", "focalnet_tiny_iso", "focalnet_base_iso", "focalnet_huge_fl4"])
def test_focalnets_leave_convolutions_to_pytorch(name: str) -> None:
    """The authors draw linear layers only: what projects in and out, the levels' weights, the MLP, the classifier."""
    weights, convolutions = drawn(name), set[str]()
    for layer, weight, bias in layers(weights):
        if weight.ndim == 4 or layer.endswith("token_mixer.mix"):
            convolutions.add(layer.rpartition(".")[2])
            bound = weight[0].numel() ** -0.5
            check_uniform(layer, weight, bound)
            if bias is not None:
                check_uniform(layer, bias, bound)
                assert float(bias.abs().max()) > 0
        else:
            check_normal(layer, weight, 0.02)
            assert bias is not None
            assert (bias == 0).all(), layer
    assert convolutions >= {"conv", "mix", "0", "1"}
    check_rest(weights, 1e-4)


def test_only_focalnets_with_norms_after_have_layer_scales() -> None:
    scaled = {
        name: any("layer_scale" in key for key in drawn(name))
        for name in ("focalnet_tiny_lrf", "focalnet_small_iso", "focalnet_base_iso", "focalnet_large_fl3")
    }
    assert list(scaled.values()) == [False, False, True, True]


def test_timms_focalnet_starts_all_layers_normal() -> None:
    for layer, weight, bias in layers(drawn("focalnet_large_fl4_timm")):
        check_normal(layer, weight, 0.02)
        assert bias is None or (bias == 0).all(), layer
