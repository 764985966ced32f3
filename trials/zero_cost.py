"""Zero-cost proxies: what an untrained network's outputs and gradients on a few images say of its trained worth.

A proxy is an evaluator: a kind, a version, metrics of which more is taken to be better. It scores what would be trained
(the point or its shrunken twin), with the weights that a training of the same seed begins with, in train mode, on one
CPU thread or the job's device. Scores are finite: those of the papers that are products are given by their logarithms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from space import Architecture, Cost, build, cost
from space.discover import discover
from space.errors import NasError, nearest
from trials.data import ImageData, load_data
from trials.evaluator import Evaluator, Job, OnEpoch
from trials.measurement import METRICS, Measured
from trials.seeds import derive_seed
from trials.threads import torch_threads

TINY = 1e-30
"""What is added inside a logarithm, so that nothing stays finite."""
Scores = NDArray[np.float64]


class ProxyError(NasError):
    """A network has no score: outputs or gradients are not finite, or there is nothing to be scored."""


@dataclass(frozen=True)
class Probe:
    """An untrained network's circumstances: how to build it, and images to look at it with."""

    arch: Architecture
    """What would be trained, fitted to the data."""
    cost: Cost
    """Of the point itself, at the job's cost resolution."""
    data: ImageData
    seed: int
    device: str
    batch_size: int

    def network(self) -> nn.Module:
        """Return the network with the weights that a training of this seed begins with, in train mode."""
        torch.manual_seed(derive_seed("weights", self.seed))
        network = build(self.arch).to(self.device)
        torch.manual_seed(derive_seed("proxy", self.seed))
        return network.train()

    def batches(self, count: int) -> list[tuple[Tensor, Tensor]]:
        """Return disjoint batches of normalised training images [B, C, H, W] and their labels [B], stratified.

        The same for every network. Raises ProxyError where the data has too few images.
        """
        wanted = count * self.batch_size
        if wanted > len(self.data.train):
            raise ProxyError(f"proxy: {wanted} images are needed, {self.data.name} has {len(self.data.train)}")
        order = torch.Generator().manual_seed(0)
        chosen = self.data.train.sample(wanted)
        mixed = torch.randperm(len(chosen), generator=order)[:wanted]
        found: list[tuple[Tensor, Tensor]] = []
        for part in mixed.tensor_split(count):
            images = self.data.normalised(chosen.batch(part).to(self.device))
            found.append((images, chosen.labels[part].to(self.device)))
        return found

    def noise(self, count: int) -> Tensor:
        """Return standard normal images [count, C, H, W], the same for every network."""
        generator = torch.Generator().manual_seed(derive_seed("noise", count))
        shape = (count, self.arch.in_channels, self.data.resolution, self.data.resolution)
        return torch.randn(shape, generator=generator).to(self.device)


class ZeroCost(Evaluator):
    """A proxy. A member returns the scores that it declares as `metrics`; a changed result is a new `version`."""

    paper: ClassVar[str]
    """Authors, title and arXiv number."""
    batch_size: Annotated[int, Field(ge=2, le=4096)] = 64
    """Images of a batch."""

    def score(self, probe: Probe) -> Sequence[float]:
        """Return a score for each metric, in their order; whatever is drawn follows from torch's random state."""
        raise NotImplementedError

    @classmethod
    def rank(cls, columns: Mapping[str, Scores]) -> Scores:
        """Return one number a network, [N], more for better, from each metric [N] (and `macs`) of a population."""
        return columns[cls.metrics[0]]

    def evaluate(self, job: Job, on_epoch: OnEpoch) -> dict[str, Measured]:
        """Return the scores. Raises ProxyError where they are not finite, DataError, SpaceError."""
        probe = probe_of(job, self.batch_size)
        devices = [torch.device(job.device)] if job.device.startswith("cuda") else []
        with torch_threads(job.threads), torch.random.fork_rng(devices), torch.enable_grad():
            found = self.score(probe)
        for name, value in zip(self.metrics, found, strict=True):
            if not math.isfinite(value):
                raise ProxyError(f"{self.kind}: {name} is {value}, outputs or gradients are not finite")
        circumstances: dict[str, str | int | float] = {
            "data": probe.data.name,
            "fingerprint": probe.data.fingerprint,
            "resolution": probe.data.resolution,
            "batch_size": self.batch_size,
            "seed": job.seed,
            "device": job.device,
            "threads": job.threads,
        }
        units = [METRICS[name].unit for name in self.metrics]
        return {
            name: Measured(value, unit, None, circumstances)
            for name, value, unit in zip(self.metrics, found, units, strict=True)
        }


def probe_of(job: Job, batch_size: int) -> Probe:
    """Return what a proxy sees of a job. Raises DataError, SpaceError."""
    data = load_data(job.data, resolution=job.resolution or job.recipe.resolution, seed=job.data_seed)
    told_apart = {"in_channels": data.channels, "classes": len(data.classes)}
    arch = job.train_arch.model_copy(update=told_apart).fitted(data.resolution)
    own = cost(job.arch.fitted(job.cost_resolution), job.cost_resolution)
    return Probe(arch, own, data, job.seed, job.device, batch_size)


@cache
def proxies() -> Mapping[str, type[ZeroCost]]:
    """Return every proxy by its kind."""
    discover("trials.proxies")
    members = sorted(Evaluator.members.items())
    return {kind: member for kind, member in members if issubclass(member, ZeroCost)}


def proxy(name: str) -> type[ZeroCost]:
    """Return the proxy of this kind. Raises NasError with the nearest name."""
    known = proxies()
    if name not in known:
        raise NasError(f"proxy: {name!r} is unknown, known: {', '.join(known)}{nearest(name, known)}")
    return known[name]


def scores() -> Mapping[str, type[ZeroCost]]:
    """Return by metric the proxy that measures it."""
    return {metric: member for member in proxies().values() for metric in member.metrics}


def cross_entropy(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return the mean loss of a batch, without label smoothing."""
    return F.cross_entropy(network(images), labels)


def log_sum(parts: Sequence[Tensor]) -> float:
    """Return the logarithm of the sum of tensors that are not negative, by double precision."""
    return math.log(math.fsum(float(part.double().sum()) for part in parts) + TINY)
