"""The choice between full networks and proxies, and its notice."""

from __future__ import annotations

from typing import Any

import pytest

from nas.fitted_space import FittedSpace
from nas.objective import Limit
from nas.training_time import AIM_SECONDS, CANDIDATES, Question, choose_size
from space import DesignSpace, NasError, Proxy
from trials.data import load_data
from trials.training.recipe import PROXY_RECIPE

WITHOUT_PROXY = """
resolution: 32
stem: {kind: patchify}
stages:
  - width: {int_range: [8, 16], step: 8}
    depth: {int_range: [1, 2]}
    pattern: [{norm: {kind: batch_norm}, token_mixer: {kind: pool}}]
"""


def question(space: str, **changes: Any) -> Question:
    data = load_data("digits")
    design = DesignSpace.from_yaml(space) if "stem" in space else DesignSpace.load(space)
    values: dict[str, Any] = {
        "space": FittedSpace(design, classes=10, in_channels=1),
        "limits": (),
        "data": data,
        "recipe": PROXY_RECIPE,
        "device": "cpu",
        "threads": 1,
        "seed": 0,
        "train_as": None,
        "proxy": None,
        "resolution": None,
        "cost_resolution": None,
    }
    return Question(**(values | changes))


def test_the_grand_space_is_searched_by_proxies() -> None:
    estimate = choose_size(question("metaformer"))
    assert estimate.size.train_as == "proxy"
    assert estimate.size.proxy in CANDIDATES
    assert (estimate.size.resolution, estimate.size.cost_resolution) == (32, 224)
    assert estimate.seconds > 0
    text = str(estimate.size)
    assert text.startswith("training proxies: width x")
    assert text.endswith("front costs are of the full networks at 224 px")


def test_small_networks_on_small_images_are_trained_themselves() -> None:
    estimate = choose_size(question(WITHOUT_PROXY))
    assert (estimate.size.train_as, estimate.size.proxy) == ("full", None)
    assert estimate.seconds <= AIM_SECONDS
    assert str(estimate.size) == "training full networks at 32 px; front costs are at 32 px"


def test_what_the_user_says_goes() -> None:
    full = choose_size(question("metaformer", train_as="full", limits=(Limit.parse("params<=1M"),)))
    assert (full.size.train_as, full.size.resolution, full.size.cost_resolution) == ("full", 32, 32)
    proxy = Proxy(width=0.5, depth=1, resolution=16)
    assert choose_size(question("metaformer", proxy=proxy)).size.proxy == proxy
    assert choose_size(question("tiny")).size.proxy == DesignSpace.load("tiny").proxy
    assert choose_size(question("tiny", train_as="full")).size.proxy is None
    assert choose_size(question(WITHOUT_PROXY, train_as="proxy")).size.train_as == "proxy"
    with pytest.raises(NasError, match="proxy"):
        choose_size(question("tiny", train_as="full", proxy=proxy))


def test_impossible_limits_are_refused_here_already() -> None:
    with pytest.raises(NasError, match="params<=10"):
        choose_size(question(WITHOUT_PROXY, limits=(Limit.parse("params<=10"),)))
