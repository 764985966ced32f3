"""NASWOT: how differently the images of a batch switch the activations of an untrained network."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from trials.watching import Watch
from trials.zero_cost import Probe, ProxyError, ZeroCost


class Naswot(ZeroCost):
    """log det of the kernel of activation patterns (arXiv:2006.04647, version 3, sec. 3).

    Each activation gives every image a code of bits, and the kernel of two images is the number of bits in which they
    agree. The paper's bits say which ReLUs are on. Here those of GELU, SiLU, squared ReLU and StarReLU count too: all
    are about 0 to the left of 0 and about linear to the right, so the bit is the sign of what they are given. Calls
    of such functions outside modules count as well. Activations that do not keep the images apart (of weights alone)
    do not. One bit is added to the kernel's diagonal: two images of equal codes, or no activation at all, would give a
    determinant of 0. Larger is better.
    """

    kind: Literal["naswot"] = "naswot"
    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[str, ...]] = ("naswot",)
    paper: ClassVar[str] = "Mellor et al., Neural Architecture Search without Training, arXiv:2006.04647"

    def score(self, probe: Probe) -> tuple[float]:
        """Return the logarithm of the determinant."""
        ((images, _),) = probe.batches(1)
        codes: list[Tensor] = []
        network = probe.network()

        def keep(x: Tensor) -> None:
            if x.ndim > 1 and x.shape[0] % len(images) == 0:
                codes.append((x.detach() > 0).reshape(len(images), -1))

        with torch.no_grad(), Watch(on_activation=keep):
            outputs = network(images)
        if not bool(outputs.isfinite().all()):
            raise ProxyError("naswot: the network's outputs are not finite")
        return (log_determinant(kernel(codes, len(images))),)


def kernel(codes: list[Tensor], count: int) -> Tensor:
    """Return in how many bits each two of `count` images agree, over all codes [count, bits]: [count, count]."""
    total = torch.zeros(count, count, dtype=torch.float64)
    for code in codes:
        signs = code.float() * 2 - 1
        total += ((signs @ signs.T + code.shape[1]) / 2).double().cpu()
    return total


def log_determinant(kernel: Tensor) -> float:
    """Return the logarithm of the determinant of a kernel with one bit more on its diagonal."""
    return float(torch.linalg.slogdet(kernel + torch.eye(len(kernel), dtype=kernel.dtype)).logabsdet)
