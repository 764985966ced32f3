"""Published networks: names, figures, and what loading their weights accepts and refuses."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

import space.models
from space.build import build, on_meta, parameters
from space.counting import cost
from space.errors import NasError
from space.keys import KeyFormat
from space.named import load_published, model_names, named, recounted

NAMES = model_names()


def published_state(name: str) -> dict[str, Tensor]:
    """A state dict in the first published layout of a model, every tensor with values of its own."""
    entry = named(name)
    own = on_meta(entry.arch).state_dict()
    return {
        entry.formats[0].publish(key): torch.rand(v.shape) + 0.5 if v.is_floating_point() else torch.tensor(7)
        for key, v in own.items()
    }


@pytest.mark.parametrize("name", NAMES)
def test_builds_at_the_cost_of_its_formula(name: str) -> None:
    entry = named(name)
    assert entry.name == name
    assert entry.arch.sizes(entry.resolution)
    assert parameters(on_meta(entry.arch)) == cost(entry.arch, entry.resolution).params


@pytest.mark.parametrize("name", NAMES)
def test_published_figures_agree_with_the_cost(name: str) -> None:
    entry = named(name)
    for figure in entry.published:
        assert figure.input == entry.resolution
        ours = recounted(entry, figure)
        rel = 0.004 if figure.params_m < 1000 else 0.03  # 1.08 and 3 billion
        # sources round to 1 M and truncate at times; some counters add norms and activations to the MACs, and those of
        # a sparse network depend on where its zeros lie
        whole = figure.params_m > 12 or float(figure.params_m).is_integer()
        assert ours.params / 1e6 == pytest.approx(figure.params_m, rel=rel, abs=0.75 if whole else 0.1)
        assert figure.macs_g is None or ours.flops / 1e9 == pytest.approx(figure.macs_g, rel=0.045, abs=0.06)
        assert (ours.deviation is None) == (figure.macs_g is None)
        assert figure.top1 is None or 70 < figure.top1 < 91
        assert figure.source


def test_figures_with_another_head_say_so() -> None:
    (figure,) = named("hornet_large_gf").published
    assert (figure.params_m, figure.classes, figure.top1) == (211, 10450, None)
    assert round(cost(named("hornet_large_gf").arch).params / 1e6) == 196


def test_every_family_is_here_in_all_sizes() -> None:
    expected = [
        *(f"convnext_{s}" for s in ("atto", "femto", "pico", "nano", "tiny", "small", "base", "large", "xlarge")),
        *(f"convnext_isotropic_{s}" for s in ("small", "base", "large")),
        *(f"convnext_tiny_{s}" for s in ("k5", "k3", *(f"k3_par{p}" for p in ("1_2", "3_8", "1_4", "1_8", "1_16")))),
        *(f"convnextv2_{s}" for s in ("atto", "femto", "pico", "nano", "tiny", "base", "large", "huge")),
        *(f"inceptionnext_{s}" for s in ("atto", "tiny", "small", "base")),
        *(f"{f}_{s}" for f in ("convformer", "caformer") for s in ("s18", "s36", "m36", "b36")),
        *(f"{f}_{s}_timm" for f in ("convformer", "caformer") for s in ("s18", "s36", "m36", "b36")),
        *(
            f"{f}_{s}"
            for f in ("identityformer", "randformer", "poolformerv2", "poolformer")
            for s in ("s12", "s24", "s36", "m36", "m48")
        ),
        *(f"poolformer_{s}_timm" for s in ("s12", "s24", "s36", "m36", "m48")),
        *(f"vanilla_vmamba_{s}" for s in ("tiny", "small", "base")),
        *(f"vmamba_{s}" for s in ("tiny_s2l5", "small_s2l15", "base_s2l15", "tiny_s1l8", "small_s1l20", "base_s1l20")),
        *(f"caformer_{s}_img384" for s in ("s18", "s36", "m36", "b36")),
        *(f"van_b{s}" for s in range(7)),
        *(f"hornet_{s}_{form}" for s in ("tiny", "small", "base", "large") for form in ("7x7", "gf")),
        *("hornet_base_gf_img384", "hornet_large_gf_img384"),
        *(f"focalnet_{s}_{form}" for s in ("tiny", "small", "base") for form in ("srf", "lrf", "iso")),
        *(f"focalnet_{s}_fl{levels}" for s in ("large", "xlarge", "huge") for levels in (3, 4)),
        *("focalnet_large_fl4_timm", "focalnet_large_fl4_img384", "focalnet_large_fl4_img384_timm"),
        *(f"moganet_{s}" for s in ("xtiny", "tiny", "small", "base", "large", "xlarge", "xtiny_img256", "tiny_img256")),
        *("replknet_31b", "replknet_31b_img384", "replknet_31l", "replknet_xl"),
        *(f"slak_{s}" for s in ("tiny", "small", "base")),
        *(f"convnext_{s}_31_29_27_13" for s in ("tiny", "small", "base")),
        *(f"unireplknet_{s}" for s in ("a", "f", "p", "n", "t", "s", "s_img384", "b", "l", "xl")),
        *(f"internimage_{s}" for s in ("tiny", "small", "base", "large", "xlarge", "huge", "giant")),
        *(f"flash_internimage_{s}" for s in ("tiny", "small", "base", "large")),
        *(f"deit_{s}{d}_patch16_224" for s in ("tiny", "small", "base") for d in ("", "_distilled")),
        *("deit_base_patch16_384", "deit_base_distilled_patch16_384"),
        *(f"swin_{s}_patch4_window7_224" for s in ("tiny", "small", "base", "large")),
        *(f"swin_{s}_patch4_window12_384" for s in ("base", "large")),
    ]
    assert set(expected) <= set(NAMES)


def test_other_input_sizes_are_the_same_function() -> None:
    large = named("convnext_base_img384")
    assert large.resolution == 384
    assert large.arch == named("convnext_base").arch
    assert {p.input for p in large.published} == {384}
    assert {p.input for p in named("convnext_base").published} == {224}
    assert named("convnextv2_huge_img512").resolution == 512
    assert named("caformer_s18_img384_timm").arch == named("caformer_s18_timm").arch != named("caformer_s18").arch
    assert named("focalnet_large_fl4_img384_timm").arch == named("focalnet_large_fl4_timm").arch


def test_filters_of_another_size_are_another_function() -> None:
    large, small = named("hornet_base_gf_img384"), named("hornet_base_gf")
    assert (large.resolution, small.resolution) == (384, 224)
    assert large.arch.id != small.arch.id
    assert [stage.pattern[0].token_mixer for stage in large.arch.stages[:2]] == [
        stage.pattern[0].token_mixer for stage in small.arch.stages[:2]
    ]


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("convnext_base_384", "convnext_base_img384"),
        ("convnext_tiny_timm", "convnext_tiny"),
        ("caformer_s18_timm", "caformer_s18_timm"),
        ("poolformer_s12_timm", "poolformer_s12_timm"),
        ("poolformer_s12_224_timm", "poolformer_s12_timm"),
        ("caformer_s18_384", "caformer_s18_img384"),
        ("convnext_base_img384_timm", "convnext_base_img384"),
        ("focalnet_tiny_srf_timm", "focalnet_tiny_srf"),
        ("caformer_s18_384_timm", "caformer_s18_img384_timm"),
        ("focalnet_large_fl4_384_timm", "focalnet_large_fl4_img384_timm"),
        ("hornet_base_gf_384", "hornet_base_gf_img384"),
        ("replknet_xl_img320", "replknet_xl"),
        ("unireplknet_b_384", "unireplknet_b"),
    ],
)
def test_aliases(alias: str, name: str) -> None:
    assert named(alias).name == name


@pytest.mark.parametrize("name", ["convnext_tinny", "resnet", "", "_timm", "convnext_tiny_385", "convnext_tiny_timm_x"])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(NasError, match=re.escape(repr(name))):
        named(name)


def test_the_nearest_name_is_offered() -> None:
    with pytest.raises(NasError, match="did you mean 'convnext_tiny'"):
        named("convnext_tinny")


@pytest.mark.parametrize(
    "name",
    [
        *("convnext_atto", "convnext_tiny_k3_par1_8", "convnext_isotropic_small", "convnextv2_atto"),
        *("inceptionnext_atto", "identityformer_s12", "randformer_s12", "convformer_s18", "caformer_s18"),
        *("poolformer_s12", "poolformerv2_s12", "van_b0", "hornet_tiny_gf", "moganet_xtiny"),
        *("internimage_huge_mini", "flash_internimage_tiny"),
    ],
)
def test_each_published_tensor_arrives_in_its_place(name: str) -> None:
    state, network = published_state(name), on_meta(named(name).arch)
    assert load_published(network, name, state) == "authors"
    layout = named(name).formats[0]
    loaded = network.state_dict()
    assert {layout.native(key) for key in state} == loaded.keys()
    for key, tensor in state.items():
        assert torch.equal(loaded[layout.native(key) or ""], tensor), key


def test_faults_are_told_and_leave_the_model_alone() -> None:
    network = build(named("convnext_atto").arch)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    state = published_state("convnext_atto")
    del state["stages.0.0.gamma"]
    state["head.weight"] = torch.zeros(21841, 320)
    state["stages.9.0.gamma"] = torch.zeros(40)
    state["optimizer"] = torch.zeros(1)
    with pytest.raises(NasError) as caught:
        load_published(network, "convnext_atto", state)
    message = str(caught.value)
    assert "1 keys missing (stages.0.0.gamma)" in message
    assert "2 keys unexpected (stages.9.0.gamma, optimizer)" in message
    assert "1 of another shape (head.weight: [21841, 320], the model has [1000, 320])" in message
    assert "\n" not in message
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_long_lists_of_faults_are_cut() -> None:
    with pytest.raises(NasError, match=r"\d+ keys missing \([^,]*, [^,]*, [^,]*, \.\.\.\)") as caught:
        load_published(build(named("convnext_atto").arch), "convnext_atto", {})
    assert len(str(caught.value)) < 300


def test_a_state_dict_holds_tensors_only() -> None:
    with pytest.raises(NasError, match=r"1 values are no tensors \(model\)"):
        load_published(build(named("convnext_atto").arch), "convnext_atto", {"model": {}})  # type: ignore[dict-item]


def test_two_keys_for_one_place_are_refused() -> None:
    state = published_state("convnext_tiny_k3_par1_8")
    twice = next(k for k in state if k.endswith("dwconv.weight"))
    state[twice.replace("dwconv.", "dwconv.conv.")] = state[twice]
    with pytest.raises(NasError, match="1 keys unexpected"):
        load_published(on_meta(named("convnext_tiny_k3_par1_8").arch), "convnext_tiny_k3_par1_8", state)


def test_sides_of_one_may_differ_and_counters_may_lack() -> None:
    state = published_state("inceptionnext_atto")
    thin = {
        k: v[:, :, None, None] if "mlp" in k and v.ndim == 2 else v
        for k, v in state.items()
        if "num_batches_tracked" not in k
    }
    assert len(thin) < len(state)
    load_published(on_meta(named("inceptionnext_atto").arch), "inceptionnext_atto", thin)
    state = published_state("convnextv2_atto")
    wide = {k: v.view(1, 1, 1, -1) if "grn" in k else v for k, v in state.items()}
    load_published(on_meta(named("convnextv2_atto").arch), "convnextv2_atto", wide)


def test_other_numbers_of_classes_load_into_networks_that_have_them() -> None:
    arch = named("convnext_atto").arch.model_copy(update={"classes": 21841})
    state = published_state("convnext_atto") | {"head.weight": torch.ones(21841, 320), "head.bias": torch.ones(21841)}
    network = build(arch)
    load_published(network, "convnext_atto", state)
    assert torch.equal(network.state_dict()["head.fc.weight"], state["head.weight"])


def test_models_on_meta_take_the_tensors_themselves() -> None:
    state = {k: v.double() if v.is_floating_point() else v for k, v in published_state("inceptionnext_atto").items()}
    network = on_meta(named("inceptionnext_atto").arch)
    load_published(network, "inceptionnext_atto", state)
    assert all(p.dtype == torch.float64 and p.requires_grad for p in network.parameters())
    assert network.eval()(torch.randn(1, 3, 64, 64, dtype=torch.float64)).isfinite().all()


def test_a_layout_may_change_tensors_first() -> None:
    def swapped(state: dict[str, Tensor]) -> dict[str, Tensor]:
        return {k: v.t() if k.endswith("pwconv1.weight") else v for k, v in state.items()}

    from space.keys import load

    layout = KeyFormat("authors", named("convnext_atto").formats[0].renames, swapped)
    state, network = published_state("convnext_atto"), build(named("convnext_atto").arch)
    assert load(network, "convnext_atto", (layout,), swapped(state)) == "authors"
    assert torch.equal(
        network.state_dict()["stages.0.blocks.0.channel_mixer.fc1.weight"], state["stages.0.0.pwconv1.weight"]
    )


def test_model_families_list_themselves_in_one_file_each() -> None:
    folder = Path(space.models.__file__ or "").parent
    files = sorted(p for p in folder.glob("*.py") if p.stem != "__init__")
    assert len(files) >= 5
    for path in files:
        names = {
            n.id
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.Assign)
            for n in node.targets
            if isinstance(n, ast.Name)
        }
        assert "MODELS" in names, path
