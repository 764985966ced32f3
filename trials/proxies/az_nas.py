"""AZ-NAS: a population ranked by expressivity, progressivity, trainability and complexity together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import ClassVar, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from space.build import Network, NetworkStage
from trials.zero_cost import Probe, ProxyError, Scores, ZeroCost


class AzNas(ZeroCost):
    """Expressivity, progressivity and trainability of a network; a population is ranked by these and its MACs.

    arXiv:2403.19232, sec. 3. Features f_l are the outputs of the stem and of each block, given standard normal images;
    what leads into a stage belongs to the stage's first block. Batch norms see the batch; weights of convolutions and
    linear layers are drawn normal with variance 2 / fan-in, biases 0, as in the authors' code.
    az_nas_expressivity: sum over l of the entropy (nats) of the normalised spectrum of the channels' covariance.
    az_nas_progressivity: least rise of that entropy from one block to the next.
    az_nas_trainability: mean over blocks of 2 - s - 1 / s, s the spectral norm of a block's Jacobian between channels,
    estimated by sending random signs back; where a block shrinks the map, the pixels of a cell count as channels.
    Ranking: the sum over the four of log(rank / N), rank 1 the worst. Larger is better throughout.
    """

    kind: Literal["az_nas"] = "az_nas"
    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[str, ...]] = ("az_nas_expressivity", "az_nas_progressivity", "az_nas_trainability")
    paper: ClassVar[str] = (
        "Lee and Ham, AZ-NAS: Assembling Zero-Cost Proxies for Network Architecture Search, arXiv:2403.19232"
    )

    def score(self, probe: Probe) -> tuple[float, float, float]:
        """Return the three scores of one batch of noise."""
        network = cast("Network", probe.network())
        kaiming(network)
        features = block_outputs(network, probe.noise(self.batch_size))
        if not all(bool(each.isfinite().all()) for each in features):
            raise ProxyError("az_nas: the features are not finite")
        entropies = [spectral_entropy(each.detach()) for each in features]
        rises = [after - before for before, after in pairwise(entropies)]
        trained = [balance(jacobian_norm(x, y)) for x, y in pairwise(features)]
        return math.fsum(entropies), min(rises), math.fsum(trained) / len(trained)

    @classmethod
    def rank(cls, columns: Mapping[str, Scores]) -> Scores:
        """Return the summed log ranks, [N], of the three scores and `macs`; equal scores share their mean rank."""
        parts = [columns[name] for name in (*cls.metrics, "macs")]
        return np.sum([np.log(mean_ranks(part) / len(part)) for part in parts], axis=0)


def block_outputs(network: Network, images: Tensor) -> list[Tensor]:
    """Return the outputs of the stem and of each block, connected for gradients."""
    found: list[Tensor] = []
    blocks = [block for stage in network.stages for block in cast("NetworkStage", stage).blocks]
    handles = [each.register_forward_hook(lambda *seen: found.append(seen[2])) for each in (network.stem, *blocks)]
    network.forward_features(images.requires_grad_(True))
    for handle in handles:
        handle.remove()
    return found


def spectral_entropy(x: Tensor) -> float:
    """Return the entropy in nats of the normalised eigenvalues of the covariance of the channels of x [N, C, H, W]."""
    rows = x.double().transpose(0, 1).flatten(1)
    rows = rows - rows.mean(1, keepdim=True)
    gram = rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows  # the same spectrum but for zeros
    values = torch.linalg.eigvalsh(gram.cpu()).clamp_min(0.0)
    total = float(values.sum())
    if total <= 0:
        return 0.0
    shares = values / total
    return float(torch.special.entr(shares).sum())


def jacobian_norm(x: Tensor, y: Tensor) -> float:
    """Return the spectral norm of the estimated Jacobian between the channels of x and of y = f(x), [N, C, H, W]."""
    signs = torch.randint_like(y, 2) * 2 - 1
    (back,) = torch.autograd.grad(y, x, signs, retain_graph=True)
    left, right = (each.double().transpose(0, 1).flatten(1) for each in (in_cells(back, y.shape[2], y.shape[3]), signs))
    return float(torch.linalg.matrix_norm(left @ right.T / right.shape[1], ord=2))


def in_cells(x: Tensor, height: int, width: int) -> Tensor:
    """Return x [N, C, H, W] as [N, C * cell^2, height, width]: cells, filled up with zeros, pixels as channels.

    A smaller map is repeated instead.
    """
    cell = max(-(-x.shape[2] // height), -(-x.shape[3] // width))
    if x.shape[2] < height or x.shape[3] < width:
        return F.interpolate(x, (height, width))
    filled = F.pad(x, (0, cell * width - x.shape[3], 0, cell * height - x.shape[2]))
    return F.pixel_unshuffle(filled, cell)


@torch.no_grad()
def kaiming(network: nn.Module) -> None:
    """Draw the weights of convolutions and linear layers normal with variance 2 / fan-in, and set biases to 0."""
    for module in network.modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                module.bias.zero_()


def balance(norm: float) -> float:
    """Return 2 - s - 1 / s: 0 where gradients keep their size, less where they grow or vanish; s at least 1e-6."""
    norm = max(norm, 1e-6)
    return 2 - norm - 1 / norm


def mean_ranks(values: Scores | Sequence[float]) -> Scores:
    """Return ranks from 1, the smallest first; equal values share the mean of theirs."""
    array = np.asarray(values, dtype=np.float64)
    _, inverse, counts = np.unique(array, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[inverse]
