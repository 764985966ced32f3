"""RepLKNet, SLaK and UniRepLKNet: published weights of both forms, and what the merged form costs."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from space import Architecture, NasError, build, cost, named
from space.build import Network, on_meta
from space.keys import KeyFormat
from space.named import load_published

BOTH_FORMS = [
    *("replknet_31b", "replknet_xl", "convnext_tiny_31_29_27_13", "convnext_tiny_l2s", "unireplknet_a"),
    *("unireplknet_t", "unireplknet_s"),
]


def narrow(arch: Architecture) -> Architecture:
    """The same network with an eighth of its widths and few classes."""
    stages = tuple(stage.model_copy(update={"width": stage.width // 8}) for stage in arch.stages)
    return arch.model_copy(update={"stages": stages, "classes": 5})


def published(network: Network, layout: KeyFormat) -> dict[str, Tensor]:
    """The network's state under published keys, every tensor with values of its own."""
    return {
        layout.publish(key): torch.rand(v.shape) + 0.5 if v.is_floating_point() else torch.tensor(7)
        for key, v in network.state_dict().items()
    }


@pytest.mark.parametrize("name", [*BOTH_FORMS, "slak_tiny"])
def test_weights_load_in_the_form_they_are_published_in(name: str) -> None:
    entry = named(name)
    arch = narrow(entry.arch)
    for point, layout in zip((arch, arch.merged()), entry.formats, strict=False):
        network = on_meta(point)
        state = published(network, layout)
        assert len(state) == len(network.state_dict()), "every tensor has a published key of its own"
        assert load_published(network, name, state) == layout.format
        loaded = network.state_dict()
        assert {layout.native(key) for key in state} == loaded.keys()
        for key, tensor in state.items():
            assert torch.equal(loaded[layout.native(key) or ""], tensor), key
    assert [layout.format for layout in entry.formats] == ["authors", "authors-merged"][: len(entry.formats)]
    assert len(entry.formats) == 2 - (name == "slak_tiny"), "SLaK's code does not merge its bands"


@pytest.mark.parametrize("name", ["replknet_31b", "unireplknet_a"])
def test_weights_of_the_other_form_are_named_so(name: str) -> None:
    entry = named(name)
    arch = entry.arch.model_copy(update={"classes": 5})
    network, merged = on_meta(arch), on_meta(arch.merged())
    trained_state, merged_state = (
        {layout.publish(key): v for key, v in one.state_dict().items()}
        for layout, one in zip(entry.formats, (network, merged), strict=True)
    )
    with pytest.raises(NasError, match=re.escape("are those of the merged form, the model is not; build the network")):
        load_published(network, name, merged_state)
    with pytest.raises(NasError, match=re.escape("are those of the training form, the model is not; load them before")):
        load_published(merged, name, trained_state)
    del merged_state["norm.weight"]
    with pytest.raises(NasError, match="keys missing"):
        load_published(network, name, merged_state)


@pytest.mark.parametrize("name", BOTH_FORMS)
def test_merged_weights_go_out_and_come_back(name: str) -> None:
    entry = named(name)
    torch.manual_seed(0)
    network = build(narrow(entry.arch)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.rand_like(parameter) / parameter[0].numel())
    own = network.reparameterize().state_dict()
    fresh = build(narrow(entry.arch).merged()).eval()
    load_published(fresh, name, {entry.formats[1].publish(key): tensor for key, tensor in own.items()})
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        logits = network(images)
        assert logits.isfinite().all()
        assert torch.equal(fresh(images), logits)


def test_merged_kernels_have_a_name_of_their_own() -> None:
    network, layout = on_meta(narrow(named("unireplknet_t").arch).merged()), named("unireplknet_t").formats[1]
    theirs = {layout.publish(key) for key in network.state_dict() if "token_mixer" in key}
    large = {key for key in theirs if ".lk_origin." in key}
    assert {key.rpartition(".dwconv.")[0] for key in large} == {
        *(f"stages.{stage}.{block}" for stage in (1, 3) for block in range(3)),
        *(f"stages.2.{block}" for block in range(0, 18, 2)),
    }
    assert {key.rpartition(".")[2] for key in theirs} == {"weight", "bias"}
    assert layout.native("stages.2.1.dwconv.lk_origin.weight") is None


@pytest.mark.parametrize(
    ("name", "params", "gmacs"),
    [
        # parameters of the authors' code after its own merging, where it was run; MACs as their README gives them
        ("replknet_31b", 79527272, 15.3),
        ("replknet_31b_img384", 79527272, 45.1),
        ("replknet_31l", None, 96.0),
        ("replknet_xl", None, 128.7),
        ("convnext_tiny_31_29_27_13", 31934536, None),
        ("unireplknet_a", 4437300, 0.6),
        ("unireplknet_f", None, 0.9),
        ("unireplknet_p", None, 1.6),
        ("unireplknet_n", None, 2.8),
        ("unireplknet_t", 31037980, 4.9),
        ("unireplknet_s", None, 9.1),
        ("unireplknet_s_img384", None, 26.7),
        ("unireplknet_b", None, 47.2),
        ("unireplknet_l", None, 105.4),
        ("unireplknet_xl", None, 187),
    ],
)
def test_merged_forms_cost_what_is_published(name: str, params: int | None, gmacs: float | None) -> None:
    entry = named(name)
    merged = cost(entry.arch.merged(), entry.resolution)
    if params is not None:
        assert merged.params == params
    if gmacs is not None:
        # rounded to one digit, or truncated to it
        assert merged.macs / 1e9 == pytest.approx(gmacs, abs=0.3 if gmacs == 187 else 0.06)
        assert entry.published_form == "merged"
        assert {figure.macs_g for figure in entry.published} == {gmacs}


def test_kernels_alternate_as_published() -> None:
    def kernels(name: str) -> list[list[int]]:
        return [[b.token_mixer.kernel_size for b in stage.blocks()] for stage in named(name).arch.stages]  # type: ignore[attr-defined]

    assert kernels("unireplknet_t") == [[3] * 3, [13] * 3, [13, 3] * 9, [13] * 3]
    assert kernels("unireplknet_s") == [[3] * 3, [13] * 3, [13, 3, 3] * 9, [13] * 3]
    assert kernels("unireplknet_n") == [[3] * 2, [13] * 2, [13] * 8, [13] * 2]


def test_widths_of_slak_are_rounded_down() -> None:
    assert [stage.width for stage in named("slak_tiny").arch.stages] == [124, 249, 499, 998]
    assert [stage.width for stage in named("slak_base").arch.stages] == [166, 332, 665, 1331]
