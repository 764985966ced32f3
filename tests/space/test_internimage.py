"""InternImage and FlashInternImage: published figures by their own rule, structure, start; and what they brought."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from space.arch import Architecture, Block, Stage
from space.build import MetaFormerBlock, MetaNeXtBlock, build, on_meta
from space.counting import block_cost, cost, counted, published_flops
from space.downsamples import StridedConv
from space.heads import AttentionPoolHead
from space.layers import TwoMaps
from space.mixers.pool import Pool
from space.named import model_names, named, recounted
from space.norms import LayerNorm
from space.stems import Patchify

PARAMS = {
    "internimage_tiny": 29918424,
    "internimage_small": 50079880,
    "internimage_base": 97461832,
    "internimage_large": 223334810,
    "internimage_xlarge": 334819780,
    "internimage_huge": 1089636760,
    "flash_internimage_tiny": 29815528,
    "flash_internimage_small": 50067496,
    "flash_internimage_base": 97448960,
    "flash_internimage_large": 223297080,
}


@pytest.mark.parametrize("name", PARAMS)
def test_parameters_are_those_of_the_published_code(name: str) -> None:
    assert cost(named(name).arch).params == PARAMS[name]


@pytest.mark.parametrize("name", [name for name in model_names() if name.startswith("internimage")])
def test_published_macs_are_the_cost_and_five_for_each_sample(name: str) -> None:
    model = named(name)
    for figure in model.published:
        assert figure.macs_g is not None
        # the published count of the two largest follows another, unpublished rule
        assert recounted(model, figure).flops / 1e9 == pytest.approx(figure.macs_g, rel=0.011, abs=0.35)
    assert bool(model.published) != name.endswith("mini")
    assert ("not a published network" in model.source) == name.endswith("mini")


def test_the_sampling_of_the_smallest_is_what_the_authors_count() -> None:
    arch = named("internimage_tiny").arch
    ruled = published_flops(arch)
    assert ruled is not None
    assert ruled.flops - cost(arch).macs == 99348480
    assert (ruled.rule, ruled.source) == (
        "MACs + 5 a tap, channel and position of deformable sampling",
        "OpenGVLab/InternImage@31c962d detection/get_flops.py",
    )


@pytest.mark.parametrize(("name", "closed"), [("huge", [5, 11, 17, 23, 29]), ("giant", list(range(5, 48, 6)))])
def test_every_sixth_block_of_the_third_stage_is_closed_by_a_norm(name: str, closed: list[int]) -> None:
    stages = named(f"internimage_{name}").arch.stages
    found = [[i for i, b in enumerate(s.blocks()) if isinstance(b.closing_norm, LayerNorm)] for s in stages]
    assert found == [[], [], closed, []]
    mini = named(f"internimage_{name}_mini").arch.stages[2].blocks()
    assert [i for i, b in enumerate(mini) if isinstance(b.closing_norm, LayerNorm)] == [1, 3, 5]


@pytest.mark.parametrize("name", ["internimage_huge_mini", "internimage_giant_mini", "flash_internimage_tiny"])
@pytest.mark.parametrize("size", [(33, 33), (97, 131)], ids=str)
def test_networks_cost_what_is_counted_at_any_size(name: str, size: tuple[int, int]) -> None:
    arch = named(name).arch
    assert counted(on_meta(arch), (1, 3, *size)).cost == cost(arch, size)


@pytest.mark.parametrize("name", ["internimage_huge_mini", "flash_internimage_tiny"])
def test_weights_start_as_published(name: str) -> None:
    torch.manual_seed(0)
    for key, p in build(named(name).arch).named_parameters():
        layer, leaf = key.split(".")[-2:]
        pointwise_conv = layer in ("conv", "above", "below") and "head" in key
        if layer in ("offset", "weight", "offset_weight", "keep"):
            assert torch.count_nonzero(p) == 0, key
        elif p.ndim == 4 or pointwise_conv:
            if p.ndim > 1:
                bound = p[0].numel() ** -0.5
                assert 0.9 * bound < float(p.detach().abs().max()) <= bound, key
        elif layer in ("depthwise", "0", "1") and leaf == "bias" and "norms" not in key:
            assert float(p.detach().abs().max()) > 0, key  # biases of convolutions start as PyTorch's own
        elif layer in ("project_in", "project_out") and p.ndim == 2:
            assert float(p.detach().std()) == pytest.approx((2 / sum(p.shape)) ** 0.5, rel=0.05), key
        elif p.ndim == 2:
            assert float(p.detach().std()) == pytest.approx(0.02, rel=0.1), key
        elif "norm" in key and leaf == "weight":
            assert (p == 1).all(), key
        else:
            assert torch.count_nonzero(p) == 0, key


def _random(module: nn.Module) -> Any:
    for parameter in module.parameters():
        parameter.data = 0.3 * torch.randn_like(parameter) + 0.2
    return module.eval()


@pytest.fixture
def x() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(2, 8, 5, 6)


def test_metaformer_blocks_may_normalise_before_and_after_each_branch(x: Tensor) -> None:
    spec = Block(token_mixer=Pool(), norm_at="both", layer_scale=0.5, closing_norm=LayerNorm())
    block = _random(MetaFormerBlock(spec, 8, 0.0))
    y = x + block.layer_scale1(block.post_norm1(block.token_mixer(block.norm1(x))))
    y = y + block.layer_scale2(block.post_norm2(block.channel_mixer(block.norm2(y))))
    torch.testing.assert_close(block(x), block.closing_norm(y))
    assert counted(block, (1, 8, 5, 6)).cost == block_cost(spec, 8, (5, 6))


def test_metanext_blocks_may_normalise_before_and_after_the_channel_mixer(x: Tensor) -> None:
    spec = Block(wiring="metanext", token_mixer=Pool(), norm_at="both", closing_norm=LayerNorm())
    block = _random(MetaNeXtBlock(spec, 8, 0.0))
    y = x + block.post_norm(block.channel_mixer(block.norm(block.token_mixer(x))))
    torch.testing.assert_close(block(x), block.closing_norm(y))
    assert counted(block, (1, 8, 5, 6)).cost == block_cost(spec, 8, (5, 6))


def test_the_attention_head_joins_two_maps_and_lets_their_mean_attend() -> None:
    torch.manual_seed(0)
    head = _random(AttentionPoolHead(width=16, head_width=8, output_width=12).build_above(6, 10, 5))
    last, lower = torch.randn(2, 10, 3, 4), torch.randn(2, 6, 6, 8)
    joined = F.pixel_shuffle(head.above(last), 2) + head.below(lower)
    key, value = (
        layer(norm(joined).flatten(2).transpose(1, 2)).unflatten(2, (2, 8))
        for layer, norm in ((head.key, head.key_norm), (head.value, head.value_norm))
    )
    mean = joined.mean((2, 3), keepdim=True)
    query = head.query(head.query_norm(mean).flatten(1)).unflatten(1, (2, 8))
    shares = (torch.einsum("nhd,nlhd->nhl", query, key) / 8**0.5).softmax(-1)
    found = head.proj(torch.einsum("nhl,nlhd->nhd", shares, value).flatten(1))
    expected = head.fc(head.fc_norm(found[:, :, None, None]).flatten(1))
    torch.testing.assert_close(head(last, lower), expected)
    assert not torch.allclose(head(last), expected)


def _two_maps(depth: int, kernel_size: int) -> Architecture:
    block = Block(token_mixer=Pool())
    downsample = StridedConv.model_validate({"kernel_size": kernel_size})
    stages = [Stage(width=8, depth=1, pattern=(block,))]
    stages += [Stage(width=12 + i, depth=1, pattern=(block,), downsample=downsample) for i in range(depth - 1)]
    head = AttentionPoolHead(width=16, head_width=8, output_width=12)
    return Architecture(stem=Patchify(), stages=tuple(stages), head=head, classes=5)


@pytest.mark.parametrize("kernel_size", [2, 3])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_any_network_may_have_the_attention_head(depth: int, kernel_size: int) -> None:
    """Of one stage the lower map is the stem's; maps that do not fit by two are brought together."""
    arch = _two_maps(depth, kernel_size)
    for size in ((20, 28), (44, 36)):
        assert counted(on_meta(arch), (1, 3, *size)).cost == cost(arch, size)
        network = build(arch)
        assert isinstance(network.head, TwoMaps)
        network(torch.randn(2, 3, *size)).square().sum().backward()
        assert all(p.grad is not None for p in network.parameters())
    assert len(build(arch, features=True)(torch.randn(1, 3, 20, 28))) == depth


def test_networks_of_two_maps_compile_and_export() -> None:
    torch.manual_seed(0)
    torch.compiler.reset()
    network = _random(build(_two_maps(2, 3)))
    x = torch.randn(2, 3, 20, 28)
    expected = network(x)
    torch.testing.assert_close(torch.compile(network, fullgraph=True, backend="eager")(x), expected)
    program = torch.export.export(network, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=64)},))
    torch.testing.assert_close(program.module()(x[:1]), expected[:1])
