"""Jacobian covariance: how differently an untrained network answers to a change of each image."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from trials.zero_cost import Probe, ProxyError, ZeroCost

K = 1e-5
"""Added to the eigenvalues (arXiv:2006.04647, version 1, sec. 3)."""


class JacobCov(ZeroCost):
    """Minus the sum of log(s + k) + 1 / (s + k) over eigenvalues s of the correlation of images' Jacobians.

    A row of the Jacobian is the gradient of an image's summed logits by its pixels (arXiv:2006.04647, version 1,
    sec. 3), batch norms seeing the batch. A row without variance correlates with itself alone. k is 1e-5; the score is
    at most -B for B images, where no two correlate; larger is better.
    """

    kind: Literal["jacob_cov"] = "jacob_cov"
    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[str, ...]] = ("jacob_cov",)
    paper: ClassVar[str] = "Mellor et al., Neural Architecture Search without Training, arXiv:2006.04647v1"

    def score(self, probe: Probe) -> tuple[float]:
        """Return the score of the correlation's spectrum."""
        ((images, _),) = probe.batches(1)
        images.requires_grad_(True)
        (jacobian,) = torch.autograd.grad(probe.network()(images).sum(), images)
        if not bool(jacobian.isfinite().all()):
            raise ProxyError("jacob_cov: the gradients by the pixels are not finite")
        return (spectrum_score(correlation(jacobian.flatten(1))),)


def correlation(rows: Tensor) -> Tensor:
    """Return the correlation [N, N] of rows [N, D]; a row without variance correlates with itself alone."""
    centred = rows.double().cpu()
    centred = centred - centred.mean(1, keepdim=True)
    length = centred.norm(dim=1, keepdim=True)
    unit = torch.where(length > 0, centred / length.clamp_min(torch.finfo(torch.float64).tiny), 0.0)
    return (unit @ unit.T).fill_diagonal_(1.0)


def spectrum_score(matrix: Tensor) -> float:
    """Return minus the sum of log(s + k) + 1 / (s + k) over the eigenvalues s >= 0 of a symmetric matrix."""
    values = torch.linalg.eigvalsh(matrix).clamp_min(0.0) + K
    return -float((values.log() + 1 / values).sum())
