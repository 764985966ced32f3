"""Inception depthwise convolution: identity, square and two bands over groups of the channels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from ops.depthwise_conv2d import depthwise_conv2d
from ops.depthwise_conv2d.registered import autocast
from ops.dispatch import DEVICES, Impl, implementation
from ops.inception_depthwise.reference import reference
from ops.inception_depthwise.registered import mix, takes_at_once

__all__ = ["inception_depthwise"]


def inception_depthwise(
    x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor] = (), *, impl: Impl | None = None
) -> Tensor:
    """Pass the first channels on and convolve three groups of the last: by a square, a lying and an upright band.

    On a GPU the Triton kernel takes a contiguous map in one launch; groups of one in channels_last are convolved one by
    one, as on a CPU.

    Shapes:  x [N, C, H, W], weights [G, 1, K, K], [G, 1, 1, L] and [G, 1, L, 1], biases none or [G] each; C at least
             3 G, K and L odd -> [N, C, H, W].
    Impl:    see `ops.dispatch`.
    Raises:  ValueError if there are not three weights of one group's channels, or as `depthwise_conv2d` does.
    Source:  InceptionNeXt, arXiv:2303.16900, sec. 3; implementation our own.
    """
    group = len(weights[0]) if weights else 0
    if [len(weight) for weight in weights] != [group] * 3 or 3 * group > x.shape[1] or len(biases) not in (0, 3):
        found = [len(weight) for weight in weights]
        raise ValueError(
            f"inception_depthwise: weights of {found} and {len(biases)} biases for {x.shape[1]} channels, allowed: "
            "three of as many channels, at most a third each, and none or three"
        )
    if x.device.type in DEVICES:
        cast, *others = autocast(x, *weights, *biases)
        kernels, shifts = others[:3], others[3:]
        # whoever asks for Triton gets it for each group where there is no kernel for all
        asked = None if impl == "triton" else impl
        at_once = implementation(
            "inception_depthwise", asked, cast, *others, kernel=lambda: takes_at_once(cast, kernels, shifts)
        )
        if at_once == "triton":
            return mix(cast, kernels, shifts)
    return reference(x, weights, biases, partial(depthwise_conv2d, impl=impl))
