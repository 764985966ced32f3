"""VMamba: figures by the rule of its tables, blocks of one branch, older and newer keys, and initial weights."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from space.arch import Block
from space.build import MetaFormerBlock, build, on_meta
from space.channel_mixers.none import NoChannelMixer
from space.cost import Cost
from space.counting import block_cost, cost, counted, published_flops
from space.downsamples import PatchMerging
from space.mixers.mamba import Mamba
from space.mixers.pool import Pool
from space.models.vmamba import MODELS
from space.named import load_published, named, recounted
from space.norms import LayerNorm

COUNTS = {
    # parameters; MACs of convolutions and matrix products at 224 px; what the rule of the tables adds for the scans:
    # measured on MzeroMiko/VMamba@2ed52ea
    "vanilla_vmamba_tiny": (22893448, 3676962816, 1920737280),
    "vanilla_vmamba_small": (44417416, 7689738240, 3492249600),
    "vanilla_vmamba_base": (76254056, 13297262592, 4656332800),
    "vmamba_tiny_s2l5": (30705832, 4716208128, 108380160),
    "vmamba_small_s2l15": (50147752, 8498976768, 168591360),
    "vmamba_base_s2l15": (88557800, 15069880320, 224788480),
    "vmamba_tiny_s1l8": (30249064, 4812621312, 63221760),
    "vmamba_small_s1l20": (49012840, 8469548544, 99348480),
    "vmamba_base_s1l20": (86614504, 15030642688, 132464640),
}


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.name)
def test_counts_are_the_measured_and_the_published_ones(model: object) -> None:
    entry = named(getattr(model, "name"))  # noqa: B009
    params, macs, scans = COUNTS[entry.name]
    found = cost(entry.arch)
    assert (found.params, found.macs) == (params, macs)
    ruled = published_flops(entry.arch)
    assert ruled is not None
    assert ruled.flops == macs + scans
    assert ruled.rule.startswith("MACs + 9 L D N + L D for a scan")
    (figure,) = entry.published
    # the tables also count norms, up to 1 %
    assert recounted(entry, figure).flops == ruled.flops
    assert ruled.flops / 1e9 == pytest.approx(figure.macs_g, rel=0.016)
    assert params / 1e6 == pytest.approx(figure.params_m, abs=0.5)


def test_a_block_without_channel_mixer_is_one_branch() -> None:
    spec = Block(token_mixer=Pool(), channel_mixer=NoChannelMixer(), layer_scale=0.1, residual_scale=True)
    block = MetaFormerBlock(spec, 8, 0.0)
    assert sorted(block.state_dict()) == ["layer_scale1.scale", "norm1.bias", "norm1.weight", "res_scale1.scale"]
    x = torch.randn(2, 8, 5, 6)
    normed = F.layer_norm(x.movedim(1, -1), (8,), eps=1e-6).movedim(-1, 1)
    torch.testing.assert_close(block(x), x + 0.1 * block.token_mixer(normed))
    assert block_cost(spec, 8, (5, 6)) == counted(block, (1, 8, 5, 6)).cost == Cost(32)


def test_blocks_of_mamba_cost_what_is_counted() -> None:
    spec = Block(token_mixer=Mamba(), channel_mixer=NoChannelMixer())
    with torch.device("meta"):
        block = MetaFormerBlock(spec, 24, 0.1)
    assert block_cost(spec, 24, (7, 5)) == counted(block, (1, 24, 7, 5)).cost


@pytest.mark.parametrize(("height", "width"), [(4, 6), (5, 7), (1, 1), (2, 3)])
def test_patches_merge_column_by_column(height: int, width: int) -> None:
    merging = PatchMerging(norm=LayerNorm(eps=1e-5)).build(3, 8)
    x = torch.randn(2, 3, height, width)
    full = F.pad(x, (0, width % 2, 0, height % 2))
    parts = [full[:, :, i::2, j::2] for i, j in ((0, 0), (1, 0), (0, 1), (1, 1))]
    tokens = F.layer_norm(torch.cat(parts, 1).movedim(1, -1), (12,))
    expected = (tokens @ merging.reduction.weight.T).movedim(-1, 1)
    torch.testing.assert_close(merging(x), expected)


def published(name: str) -> dict[str, Tensor]:
    """A state dict of the model under the first published name of each key, every tensor with values of its own."""
    entry = named(name)
    state = on_meta(entry.arch).state_dict()
    return {entry.formats[0].publish(key): torch.rand(tensor.shape) for key, tensor in state.items()}


def loaded(name: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    network = on_meta(named(name).arch)
    assert load_published(network, name, state) == "authors"
    return network.state_dict()


def older(key: str) -> str:
    """The key under the names of the first checkpoints."""
    for now, then in (
        ("patch_embed.0.", "patch_embed.proj."),
        ("patch_embed.2.", "patch_embed.norm."),
        ("classifier.", ""),
        (".op.", ".self_attention."),
    ):
        key = key.replace(now, then)
    return key.replace(".norm.", ".ln_1.") if ".blocks." in key else key


def newer(key: str) -> str:
    """The key under the names of the single-file vmamba.py."""
    return key.replace("x_proj_weight", "x_proj.weight").replace("dt_projs_weight", "dt_projs.weight")


def test_keys_of_all_generations_are_read() -> None:
    state = published("vanilla_vmamba_tiny")
    assert "layers.2.blocks.8.op.x_proj_weight" in state
    assert "layers.0.downsample.reduction.weight" in state
    plain = loaded("vanilla_vmamba_tiny", state)
    old = loaded("vanilla_vmamba_tiny", {older(key): tensor for key, tensor in state.items()})
    assert all(torch.equal(old[key], plain[key]) for key in plain)
    assert torch.equal(plain["head.fc.weight"], state["classifier.head.weight"])
    assert torch.equal(plain["stages.1.downsample.norm.bias"], state["layers.0.downsample.norm.bias"])
    assert torch.equal(plain["stages.0.blocks.1.norm1.bias"], state["layers.0.blocks.1.norm.bias"])


def test_projections_as_convolutions_and_as_rows_of_one_matrix_are_read() -> None:
    state = published("vmamba_tiny_s1l8")
    plain = loaded("vmamba_tiny_s1l8", state)
    pointwise = ("in_proj.weight", "out_proj.weight", "fc1.weight", "fc2.weight", "classifier.head.weight")
    wide = {k: v[:, :, None, None] if k.endswith(pointwise) else v for k, v in state.items()}
    rows = {newer(k): v.flatten(0, 1) if newer(k) != k else v for k, v in state.items()}
    assert rows["layers.0.blocks.0.op.x_proj.weight"].shape == (4 * (6 + 2), 96)
    for other in (wide, rows):
        found = loaded("vmamba_tiny_s1l8", other)
        assert all(torch.equal(found[key], plain[key]) for key in plain)


def test_networks_start_as_published() -> None:
    torch.manual_seed(0)
    network = build(named("vmamba_tiny_s2l5").arch)
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            bound = module.weight[0].numel() ** -0.5
            assert float(module.weight.detach().abs().max()) <= bound, name
            assert float(module.weight.detach().std()) == pytest.approx(bound / 3**0.5, rel=0.1), name
        elif isinstance(module, nn.Linear):
            assert float(module.weight.detach().std()) == pytest.approx(0.02, rel=0.1), name
            assert module.bias is None or not module.bias.any(), name
    ssm = network.stages[2].blocks[0].token_mixer.ssm.requires_grad_(False)
    assert (ssm.A_log == 0).all()  # log 1: one state
    assert (ssm.D == 1).all()
    assert float(ssm.x_proj.abs().max()) == pytest.approx(768**-0.5, rel=0.02)
    assert float(F.softplus(ssm.dt_bias).max()) == pytest.approx(0.1, rel=0.05)
