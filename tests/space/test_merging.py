"""Structural re-parameterisation: the merged network computes the same and is the network of the merged point."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from space import Architecture, FeatureNetwork, build, cost, named
from space.build import Network, on_meta
from space.counting import counted
from space.merging import MergedDepthwise

SIZE = (40, 36)
MERGED = (nn.Conv2d, nn.Linear)
Spec = dict[str, Any]

BATCH, LAYER = {"kind": "batch_norm"}, {"kind": "layer_norm"}
LARGE: Spec = {"kind": "reparam_large_kernel", "kernel_size": 13}
DILATED: Spec = {"kind": "dilated_reparam", "kernel_size": 9}
BANDS: Spec = {"kind": "band_kernels", "kernel_size": 11}
REPLKNET: Spec = {
    "norm": BATCH,
    "token_mixer": {"kind": "projected", "inner": LARGE, "ratio": 1.5},
    "channel_mixer": {"kind": "mlp", "norm": BATCH, "bias": False},
}
SLAK: Spec = {"wiring": "metanext", "token_mixer": BANDS, "layer_scale": 0.1}
UNIREPLKNET: Spec = {
    "wiring": "metanext",
    "norm": BATCH,
    "token_mixer": DILATED,
    "channel_mixer": {"kind": "grn_mlp", "norm": BATCH, "bias": False},
    "layer_scale": 0.1,
    "squeeze_excite": 0.25,
}
PLAIN = UNIREPLKNET | {"token_mixer": {"kind": "depthwise_conv", "kernel_size": 3, "bias": False}}


def point(*blocks: Spec) -> Architecture:
    """A network of two stages, the blocks in turn in each."""
    stages = [
        {"width": 8, "depth": len(blocks), "pattern": blocks},
        {"width": 12, "depth": len(blocks), "pattern": blocks, "downsample": {"kind": "separable"}},
    ]
    stem = {"kind": "separable"}
    return Architecture.model_validate({"stem": stem, "stages": stages, "classes": 7})


@torch.no_grad()
def trained(arch: Architecture) -> Network:
    """The point's network in float64, with weights and statistics as training might leave them."""
    generator = torch.Generator().manual_seed(0)

    def draw(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator, dtype=torch.float64)

    network = build(arch).double().eval()
    for parameter in network.parameters():
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
        parameter.copy_(draw(parameter) / fan_in**0.5 if fan_in > 1 else 1 + 0.3 * draw(parameter))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = 0.5 * draw(module.weight)
            module.running_var = 0.5 + draw(module.weight).abs()
    return network


def check(arch: Architecture) -> Network:
    """Merge the network of a point and hold it against itself before and against the merged point."""
    network = trained(arch)
    x = torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        before = network(x)
    draws = torch.random.get_rng_state()
    assert network.reparameterize() is network
    assert torch.equal(torch.random.get_rng_state(), draws), "merging draws no random numbers"
    with torch.no_grad():
        after = network(x)
    assert float((before[0] - before[1]).norm() / before.norm()) > 1e-4, "images look alike, equality would say little"
    assert float((after - before).norm() / before.norm()) < 1e-10
    merged = arch.merged()
    assert network.architecture == merged
    fresh = on_meta(merged)
    assert {k: v.shape for k, v in network.state_dict().items()} == {k: v.shape for k, v in fresh.state_dict().items()}
    assert {n: type(m) for n, m in network.named_modules()} == {n: type(m) for n, m in fresh.named_modules()}
    assert not any(module.training for module in network.modules())
    expected = cost(merged, SIZE)
    assert counted(fresh, (1, 3, *SIZE)).cost == expected
    assert sum(p.numel() for p in network.parameters()) == expected.params <= cost(arch, SIZE).params
    state = {k: v.clone() for k, v in network.state_dict().items()}
    network.reparameterize()
    assert network.architecture == merged == merged.merged()
    assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())
    again = build(merged).double().eval()
    again.load_state_dict(state)
    with torch.no_grad():
        assert torch.equal(again(x), after)
    return network


@pytest.mark.parametrize(
    "blocks",
    [[REPLKNET], [SLAK], [UNIREPLKNET, PLAIN], [SLAK | {"token_mixer": LARGE}], [REPLKNET, SLAK, UNIREPLKNET]],
    ids=["replknet", "slak", "unireplknet", "convnext_of_large_kernels", "together"],
)
def test_the_families_merge(blocks: list[Spec]) -> None:
    arch = point(*blocks)
    assert cost(arch.merged(), SIZE).params < cost(arch, SIZE).params
    check(arch)


@pytest.mark.parametrize("kernel_size", [5, 7, 9, 11, 13, 15, 17])
def test_every_table_of_dilated_branches_merges(kernel_size: int) -> None:
    network = check(point(UNIREPLKNET | {"token_mixer": {"kind": "dilated_reparam", "kernel_size": kernel_size}}))
    assert sum(isinstance(module, MergedDepthwise) for module in network.modules()) == 2


@pytest.mark.parametrize("inner", [LARGE, DILATED, BANDS], ids=lambda spec: spec["kind"])
def test_mixers_within_mixers_merge(inner: Spec) -> None:
    gated = {"kind": "gated", "context": inner, "gate": {"kind": "silu"}, "mix_context": True}
    nested = {"kind": "projected", "inner": {"kind": "gated", "context": inner, "gate": {"kind": "linear"}}}
    for mixer in (gated, nested):
        network = check(point({"norm": BATCH, "token_mixer": mixer}))
        assert any(isinstance(module, MergedDepthwise) for module in network.modules())
        assert not [name for name, _ in network.named_modules() if name.endswith((".small", ".square", ".large"))]


def test_networks_without_such_branches_stay_as_they_are() -> None:
    arch = named("convnext_atto").arch
    network = build(arch)
    modules = dict(network.named_modules())
    assert network.reparameterize().architecture == arch == arch.merged()
    assert dict(network.named_modules()) == modules


def test_norms_of_several_devices_merge_too() -> None:
    network = nn.SyncBatchNorm.convert_sync_batchnorm(trained(point(UNIREPLKNET, REPLKNET)))
    x = torch.randn(1, 3, *SIZE, dtype=torch.float64)
    with torch.no_grad():
        before = network(x)
        torch.testing.assert_close(network.reparameterize()(x), before, rtol=1e-9, atol=1e-9)
    assert network.state_dict().keys() == on_meta(point(UNIREPLKNET, REPLKNET).merged()).state_dict().keys()


def test_backbones_of_merged_networks_have_their_maps() -> None:
    network = trained(point(UNIREPLKNET, REPLKNET))
    x = torch.randn(1, 3, *SIZE, dtype=torch.float64)
    with torch.no_grad():
        expected = FeatureNetwork(network)(x)
        merged = FeatureNetwork(network.reparameterize())
        for found, wanted in zip(merged(x), expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    assert merged.architecture == network.architecture


def test_a_merged_network_can_be_trained_on() -> None:
    network = trained(point(REPLKNET, SLAK, UNIREPLKNET)).reparameterize().train()
    network(torch.randn(2, 3, *SIZE, dtype=torch.float64)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


odd = st.sampled_from([3, 5, 7, 9])
leaf = st.one_of(
    st.builds(
        lambda k, s, f: {"kind": "reparam_large_kernel", "kernel_size": k, "small_kernel": s, "fused": f},
        odd, st.sampled_from([0, 3, 5]), st.booleans(),
    ),
    st.builds(lambda k: {"kind": "dilated_reparam", "kernel_size": k}, st.sampled_from([5, 7, 9])),
    st.builds(lambda k, s: {"kind": "band_kernels", "kernel_size": k, "short": s}, odd, st.sampled_from([3, 5])),
    st.builds(
        lambda r, b: {"kind": "depthwise_conv", "kernel_size": 3, "ratio": r, "bias": b},
        st.sampled_from([1.0, 0.5]), st.booleans(),
    ),
    st.just({"kind": "pool"}),
)  # fmt: skip
mixers = st.recursive(
    leaf,
    lambda inner: st.one_of(
        st.builds(lambda i, n: {"kind": "projected", "inner": i, "norm": n}, inner, st.sampled_from([BATCH, LAYER])),
        st.builds(
            lambda i, g: {"kind": "gated", "context": i, "gate": {"kind": g}},
            inner, st.sampled_from(["silu", "linear", "identity"]),
        ),
    ),
    max_leaves=2,
)  # fmt: skip
norms = st.sampled_from([BATCH, LAYER, {"kind": "none"}])
channels = st.one_of(
    st.builds(
        lambda n, b, g: {"kind": "grn_mlp", "ratio": 2, "norm": n, "bias": b, "grn_bias": g},
        norms, st.booleans(), st.booleans(),
    ),
    st.builds(lambda n: {"kind": "mlp", "ratio": 2, "norm": n}, norms),
)  # fmt: skip
blocks = st.fixed_dictionaries({
    "wiring": st.sampled_from(["metaformer", "metanext"]),
    "norm": norms,
    "norm_at": st.sampled_from(["before", "after"]),
    "token_mixer": mixers,
    "channel_mixer": channels,
    "layer_scale": st.sampled_from([0.0, 0.1]),
    "residual_scale": st.booleans(),
    "squeeze_excite": st.sampled_from([0.0, 0.5]),
})  # fmt: skip


@settings(max_examples=20, deadline=None)
@given(st.lists(blocks, min_size=1, max_size=2))
def test_any_point_merges(pattern: list[Spec]) -> None:
    check(point(*pattern))
