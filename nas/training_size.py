"""At which size trials are trained: the point itself (full), or its shrunken twin (proxy)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from space import Architecture, Cost, Proxy, SpaceError, cost

if TYPE_CHECKING:
    from nas.settings import SearchSettings


@dataclass(frozen=True)
class TrainingSize:
    """What of a point is trained, and at which resolution its cost holds."""

    train_as: Literal["full", "proxy"]
    proxy: Proxy | None
    """Factors of the twin; None in full training."""
    resolution: int
    """Side of the training images in pixels."""
    cost_resolution: int
    """Side in pixels that params, MACs, activations and latency of the point refer to."""

    @classmethod
    def stored(cls, settings: SearchSettings) -> TrainingSize | None:
        """Return the size of a study by its stored settings, None where they leave it open."""
        if settings.resolution is None or settings.cost_resolution is None:
            return None
        return cls(settings.train_as or "full", settings.proxy, settings.resolution, settings.cost_resolution)

    def twin(self, arch: Architecture) -> Architecture:
        """Return what is trained for this point. Raises SpaceError where the images are too small for it."""
        return arch if self.proxy is None else self.proxy.shrink(arch)

    def cost(self, arch: Architecture) -> Cost:
        """Return the cost of the point itself. Raises SpaceError where it cannot run at the cost resolution."""
        return cost(arch, self.cost_resolution)

    def training_cost(self, arch: Architecture) -> Cost:
        """Return the cost of what is trained. Raises SpaceError where that cannot run at the training resolution."""
        try:
            return cost(self.twin(arch), self.resolution)
        except SpaceError as error:
            raise SpaceError(f"cannot be trained at {self.resolution} px: {error}") from None

    def __str__(self) -> str:
        """Return the line a person reads before the search."""
        if self.proxy is None:
            return f"training full networks at {self.resolution} px; front costs are at {self.cost_resolution} px"
        return f"training proxies: {self.proxy}; front costs are of the full networks at {self.cost_resolution} px"
