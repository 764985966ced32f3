"""Several depthwise convolutions of one map, as branches to be re-parameterised into one kernel."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor

from ops.depthwise_branches.registered import MOST, branches, takes_together
from ops.depthwise_conv2d import depthwise_conv2d
from ops.depthwise_conv2d.registered import autocast
from ops.dispatch import DEVICES, Impl, implementation

__all__ = ["depthwise_branches"]


def depthwise_branches(
    x: Tensor, weights: Sequence[Tensor], *, dilations: Sequence[int] | None = None, impl: Impl | None = None
) -> list[Tensor]:
    """Convolve each channel with each of several odd kernels, keeping H and W; zeros lie beyond the border.

    A batch normalisation stands between each branch and their sum where networks are trained so, hence one output for
    each branch. On a GPU the Triton kernel reads a contiguous map once for up to three branches and writes the sum of
    their gradients once; a map in channels_last is convolved by each kernel on its own.

    Shapes:  x [N, C, H, W], weights [C, 1, K, L] each, K and L odd -> as many of [N, C, H, W].
    Units:   dilations in pixels between taps, 1 each by default.
    Impl:    see `ops.dispatch`.
    Raises:  ValueError if there are not as many dilations as weights, or as `depthwise_conv2d` does.
    Source:  a large and a small kernel as in RepLKNet, arXiv:2203.06717, sec. 3; two bands and a square as in SLaK,
             arXiv:2207.03620; dilated ones as in UniRepLKNet, arXiv:2311.15599; implementation our own.
    """
    steps = [1] * len(weights) if dilations is None else list(dilations)
    if len(steps) != len(weights):
        raise ValueError(f"depthwise_branches: {len(steps)} dilations, allowed: {len(weights)}, one a weight")
    if x.device.type in DEVICES:
        cast, *kernels = autocast(x, *weights)
        # whoever asks for Triton gets it for each branch where there is no kernel for all
        asked = None if impl == "triton" else impl
        together = implementation(
            "depthwise_branches", asked, cast, *kernels, kernel=lambda: takes_together(cast, kernels, steps)
        )
        if together == "triton":
            return [out for part in _parts(len(kernels)) for out in branches(cast, kernels[part], steps[part])]
    return [depthwise_conv2d(x, weight, dilation=d, impl=impl) for weight, d in zip(weights, steps, strict=True)]


def _parts(count: int) -> list[slice]:
    """Return two or three branches at a time, of 2 or more."""
    launches = -(-count // MOST)
    bounds = [count * launch // launches for launch in range(launches + 1)]
    return [slice(first, last) for first, last in pairwise(bounds)]
