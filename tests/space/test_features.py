"""Feature networks: the maps of all stages, and detection and segmentation built on them."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor, nn
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.segmentation.fcn import FCN, FCNHead

from space import Architecture, DesignSpace, FeatureNetwork, build, named


def small(arch: Architecture) -> Architecture:
    """The point at a size that detection can be tried at in a second."""
    stages = tuple(s.model_copy(update={"width": 8 * 2**i, "depth": 1}) for i, s in enumerate(arch.stages))
    return arch.model_copy(update={"stages": stages})


def random_pyramid(seed: int) -> Architecture:
    space, rng = DesignSpace.load("metaformer"), random.Random(seed)
    while True:
        point = space.sample(rng)
        kinds = {block.token_mixer.kind for stage in point.stages for block in stage.pattern}
        if len(point.stages) == 4 and "random_mixing" not in kinds:
            return small(point)


@pytest.mark.parametrize("arch", [small(named("convnext_tiny").arch), *map(random_pyramid, range(3))])
def test_maps_are_what_the_information_says(arch: Architecture) -> None:
    network = build(arch, features=True).eval()
    assert isinstance(network, FeatureNetwork)
    maps = network(torch.randn(2, 3, 64, 96))
    assert network.feature_info.channels() == [s.width for s in arch.stages]
    assert network.feature_info.reduction() == [4, 8, 16, 32]
    for index, (tensor, stride) in enumerate(zip(maps, network.feature_info.reduction(), strict=True)):
        assert tensor.shape == (2, 8 * 2**index, 64 // stride, 96 // stride)


def test_the_last_map_is_what_the_head_reads() -> None:
    whole = build(small(named("convnext_tiny").arch)).eval()
    x = torch.randn(1, 3, 64, 64)
    expected = whole.forward_features(x)
    torch.testing.assert_close(FeatureNetwork(whole)(x)[-1], expected)


def test_isotropic_networks_have_one_map() -> None:
    network = build(named("convnext_isotropic_small").arch, features=True)
    assert network.feature_info.channels() == [384]
    assert network.feature_info.reduction() == [16]
    assert network.feature_info.module_name() == ["stage0"]


def with_fpn(arch: Architecture) -> nn.Module:
    """A feature network under torchvision's FPN, as its own backbones are."""
    network = build(arch, features=True)
    layers = {name: str(index) for index, name in enumerate(network.feature_info.module_name())}
    return BackboneWithFPN(network, layers, network.feature_info.channels(), out_channels=16)


@pytest.mark.parametrize("arch", [small(named("caformer_s18").arch), random_pyramid(7)], ids=["named", "random"])
def test_mask_rcnn_trains_on_any_point(arch: Architecture) -> None:
    torch.manual_seed(0)
    few = {f"rpn_{when}_nms_top_n_{mode}": 20 for when in ("pre", "post") for mode in ("train", "test")}
    model = MaskRCNN(with_fpn(arch), num_classes=3, min_size=64, max_size=64, **few)
    masks = torch.zeros(1, 64, 64, dtype=torch.uint8)
    masks[:, 10:40, 8:50] = 1
    target = {"boxes": torch.tensor([[8.0, 10.0, 50.0, 40.0]]), "labels": torch.tensor([1]), "masks": masks}
    losses: dict[str, Tensor] = model([torch.rand(3, 64, 64)] * 2, [target] * 2)
    assert losses.keys() >= {"loss_classifier", "loss_box_reg", "loss_mask", "loss_objectness"}
    sum(losses.values(), torch.zeros(())).backward()
    stem = [p.grad for n, p in model.named_parameters() if n.startswith("backbone.body.stem") and p.ndim > 1]
    assert stem
    assert all(g is not None and g.isfinite().all() and g.abs().sum() > 0 for g in stem)
    found = model.eval()([torch.rand(3, 64, 64)])[0]
    assert {"boxes", "labels", "scores", "masks"} == found.keys()


def test_a_segmentation_head_reads_the_last_map() -> None:
    network = build(small(named("convnext_tiny").arch), features=True)
    body = IntermediateLayerGetter(network, {"stage3": "out"})
    model = FCN(body, FCNHead(network.feature_info.channels()[-1], 5)).eval()
    assert model(torch.randn(2, 3, 64, 64))["out"].shape == (2, 5, 64, 64)
