"""Fisher: how much the loss would feel the loss of each channel."""

from __future__ import annotations

import math
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from space.layers import Pointwise
from trials.zero_cost import TINY, Probe, ZeroCost, cross_entropy


class Fisher(ZeroCost):
    """log of the summed saliency of channels: half the mean square of activation times gradient (arXiv:1801.05787).

    For channel c of a layer's output a, with n images whose losses are L_n: sum_n (sum over positions of
    a_nc dL_n/da_nc)^2 / 2n (summed over a network in arXiv:1906.04113 and arXiv:2101.08134).
    Layers are convolutions and linear layers. Windows and heads that stand in the place of images count as positions
    of theirs; outputs that no image enters do not count. Batch norms see the batch, so that an image's loss is taken
    to depend on its own activations alone. Larger is better.
    """

    kind: Literal["fisher"] = "fisher"
    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[str, ...]] = ("fisher",)
    paper: ClassVar[str] = (
        "Theis et al., Faster gaze prediction with dense networks and Fisher pruning, arXiv:1801.05787"
    )

    def score(self, probe: Probe) -> tuple[float]:
        """Return the logarithm of the summed saliency."""
        ((images, labels),) = probe.batches(1)
        outputs: list[tuple[Tensor, int]] = []

        def keep(module: nn.Module, _: object, output: Tensor) -> None:
            if output.requires_grad and output.ndim > 1 and output.shape[0] % len(images) == 0:
                outputs.append((output, channel_axis(module)))

        network = probe.network()
        handles = [each.register_forward_hook(keep) for each in network.modules() if isinstance(each, LAYERS)]
        loss = cross_entropy(network, images, labels) * len(images)
        for handle in handles:
            handle.remove()
        gradients = torch.autograd.grad(loss, [each for each, _ in outputs], allow_unused=True, materialize_grads=True)
        total = math.fsum(
            channel_saliency(output.detach() * gradient, axis, len(images))
            for (output, axis), gradient in zip(outputs, gradients, strict=True)
        )
        return (math.log(total + TINY),)


LAYERS = (nn.Conv1d, nn.Conv2d, nn.Linear)


def channel_axis(module: nn.Module) -> int:
    """Return the dimension of a layer's output that holds its channels."""
    return 1 if isinstance(module, (nn.Conv1d, nn.Conv2d, Pointwise)) else -1


def channel_saliency(product: Tensor, axis: int, images: int) -> float:
    """Return the sum over channels of half the mean square, over the images, of their sums over positions.

    `product` is activation times gradient, its first dimension a multiple of `images`.
    """
    last = cast("Tensor", product.double().movedim(axis, -1))
    sums = last.reshape(images, -1, last.shape[-1]).sum(1)
    return float(sums.square().mean(0).sum() / 2)
