"""Networks that timm also has: the same parameters, its state dicts load, and small ones compute the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import timm
import torch
from timm.models import focalnet
from torch import nn

from space.arch import Architecture
from space.build import on_meta, parameters
from space.counting import cost
from space.named import load_published, model_names, named

SMALL = 12e6
"""Parameters up to which outputs are compared."""


def timm_name(name: str) -> str:
    base = name.removesuffix("_timm").partition("_img")[0]
    return base.replace("inceptionnext", "inception_next")


def timm_model(name: str, **settings: Any) -> nn.Module:
    # some FocalNets have the classes of their pre-training there
    return timm.create_model(timm_name(name), pretrained=False, num_classes=1000, **settings)


SHARED = [name for name in model_names() if timm.is_model(timm_name(name))]
EXACT = [
    # the authors' conv- and caformers have another eps in the head, the authors' poolformers another order there
    name
    for name in SHARED
    if "_img" not in name
    and cost(named(name).arch).params <= SMALL
    and (name.endswith("_timm") or not name.startswith(("convformer", "caformer", "poolformer_")))
]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Threads of tests that run side by side would wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_timm_has_most_of_them() -> None:
    assert len(SHARED) > 60
    assert {"convnext_pico", "convnextv2_pico", "inceptionnext_atto", "poolformerv2_s12", "poolformer_s12_timm"} <= {
        *EXACT
    }


@pytest.mark.parametrize("name", SHARED)
def test_parameters_are_equal_and_weights_load(name: str) -> None:
    with torch.device("meta"):
        theirs = timm_model(name)
    ours = on_meta(named(name).arch)
    assert parameters(ours) == parameters(theirs)
    layout = load_published(ours, name, theirs.state_dict())
    assert layout == ("authors" if name.startswith(("inceptionnext", "deit")) else "timm")  # timm has the authors' keys


def difference(theirs: nn.Module, ours: nn.Module, name: str) -> float:
    """Relative difference of the outputs under equal weights, every one of which matters."""
    torch.manual_seed(0)
    theirs = theirs.eval().double()
    with torch.no_grad():
        for tensor in theirs.state_dict().values():
            if tensor.is_floating_point():
                scale = tensor[0].numel() ** -0.5 if tensor.ndim > 1 else 0.2
                tensor.copy_(scale * torch.rand_like(tensor) + (0.5 if tensor.ndim < 2 else -scale / 2))
    load_published(ours, name, theirs.state_dict())
    size = (224, 224) if name.startswith("deit") else (64, 48)  # other sizes timm smooths before it interpolates
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        expected, found = theirs(x), ours.eval()(x)
    spread = float((expected[0] - expected[1]).norm() / expected.norm())
    assert spread > 1e-4, "images look alike to this network, so equality would say little"
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("name", EXACT)
def test_outputs_are_equal(name: str) -> None:
    assert difference(timm_model(name), on_meta(named(name).arch), name) < 1e-9


def narrow(arch: Architecture) -> Architecture:
    """The same blocks, fewer and narrower."""
    stages = [s.model_copy(update={"width": 12 << i, "depth": 1 + i % 2}) for i, s in enumerate(arch.stages)]
    return arch.model_copy(update={"stages": tuple(stages), "classes": 7})


@pytest.mark.parametrize("name", [name for name in SHARED if name.startswith("focalnet") and "_img" not in name])
def test_narrow_focalnets_compute_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them are large in full; timm's settings of each are those of its constructor."""
    monkeypatch.setattr(focalnet, "_create_focalnet", lambda variant, pretrained, **settings: settings)
    settings = getattr(focalnet, timm_name(name))()
    theirs = focalnet.FocalNet(**settings | {"embed_dim": 12, "depths": (1, 2, 1, 2), "num_classes": 7})
    found = difference(theirs, on_meta(narrow(named(name).arch)), name)
    # the authors' divides by the number of levels, timm's does not
    assert (found > 1e-4) if name == "focalnet_large_fl4" else (found < 1e-12)
