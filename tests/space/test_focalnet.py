"""FocalNet's published weights: one projection there is two layers here, under the keys of two layouts."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from space.arch import Architecture
from space.build import on_meta
from space.errors import NasError
from space.named import load_published, named

NAMES = ("focalnet_tiny_srf", "focalnet_tiny_iso", "focalnet_base_iso", "focalnet_huge_fl4")


def narrow(name: str) -> Architecture:
    """One block a stage, few channels."""
    arch = named(name).arch
    stages = (s.model_copy(update={"width": 8 << i, "depth": 1}) for i, s in enumerate(arch.stages))
    return arch.model_copy(update={"stages": tuple(stages)})


def published(name: str, layout: int) -> dict[str, Tensor]:
    """A state dict as published, every tensor with values of its own."""
    torch.manual_seed(0)
    own = on_meta(narrow(name)).state_dict()
    state = {named(name).formats[layout].publish(key): torch.rand(tensor.shape) for key, tensor in own.items()}
    halves = {key for key in state if key.endswith(" (query, context)")}
    whole = {key.removesuffix(" (query, context)"): key for key in halves}
    joined = {key: torch.cat([state[half], state[f"{key} (levels)"]]) for key, half in whole.items()}
    assert len(joined) == 2 * len(narrow(name).stages)
    return {key: tensor for key, tensor in state.items() if not key.endswith(")")} | joined


@pytest.mark.parametrize("layout", [0, 1], ids=["authors", "timm"])
@pytest.mark.parametrize("name", NAMES)
def test_the_rows_of_a_modulation_go_where_they_belong(name: str, layout: int) -> None:
    state, network = published(name, layout), on_meta(narrow(name))
    assert load_published(network, name, state) == named(name).formats[layout].format
    for stage, spec in enumerate(network.architecture.stages):
        mixer = network.stages[stage].blocks[0].token_mixer
        for leaf in ("weight", "bias"):
            rows = state[f"layers.{stage}.blocks.0.modulation.f.{leaf}"]
            assert len(rows) == 2 * spec.width + spec.pattern[0].token_mixer.context.levels + 1
            assert torch.equal(getattr(mixer.project_in, leaf), rows[: 2 * spec.width])
            assert torch.equal(getattr(mixer.context.weigh, leaf), rows[2 * spec.width :])
    rest = {key for key in state if "modulation.f." not in key}
    loaded = network.state_dict()
    for key in rest:
        assert torch.equal(loaded[named(name).formats[layout].native(key) or ""], state[key]), key


def test_no_two_parameters_share_memory() -> None:
    network = on_meta(narrow("focalnet_tiny_srf"))
    load_published(network, "focalnet_tiny_srf", published("focalnet_tiny_srf", 0))
    places = [tensor.untyped_storage().data_ptr() for tensor in network.state_dict().values()]
    assert len(set(places)) == len(places)


def test_what_leads_into_a_stage_closes_the_one_before_in_the_authors_layout() -> None:
    authors, timm = named("focalnet_large_fl3").formats
    assert authors.native("layers.0.downsample.proj.weight") == "stages.1.downsample.conv.weight"
    assert timm.native("layers.1.downsample.proj.weight") == "stages.1.downsample.conv.weight"
    assert timm.native("layers.2.blocks.1.norm2_post.bias") == "stages.2.blocks.1.norm2.bias"
    assert timm.native("layers.2.blocks.1.norm2.bias") is None


def test_faults_name_the_published_key_and_the_part_of_it() -> None:
    state, key = published("focalnet_tiny_srf", 0), "layers.2.blocks.0.modulation.f.weight"
    network = on_meta(narrow("focalnet_tiny_srf"))
    longer = state | {key: torch.zeros(len(state[key]) + 1, state[key].shape[1])}
    with pytest.raises(
        NasError, match=re.escape(f"1 of another shape ({key} (levels): [4, 32], the model has [3, 32]")
    ):
        load_published(network, "focalnet_tiny_srf", longer)
    del state[key]
    with pytest.raises(NasError, match=re.escape(f"4 keys missing ({key} (query, context), ")) as caught:
        load_published(network, "focalnet_tiny_srf", state)
    assert f"{key} (levels)" in str(caught.value)
