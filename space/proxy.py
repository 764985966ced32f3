"""The shrunken twin of a point: same mixers, kernels and norms, less width, depth and resolution.

Twins make a search over large networks affordable; how well their ranks agree with those of the points themselves is a
matter of measurement (EcoNAS, arXiv:2001.01233, compares such reductions).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from space.arch import Architecture, Stage
from space.spec import Spec

Factor = Annotated[float, Field(gt=0, le=1)]


class Proxy(Spec):
    """How much smaller the twin is than the point."""

    width: Factor = 0.25
    """Factor on the channels of every stage; the result is rounded to a multiple of 8, at least 8."""
    depth: Factor = 0.5
    """Factor on the blocks of every stage; every block of a pattern stays as long as the point itself has it."""
    resolution: Annotated[int, Field(ge=8, le=4096)] = 32
    """Side of the twin's images in pixels."""

    def shrink(self, arch: Architecture) -> Architecture:
        """Return the twin of `arch`, fitted to this resolution. Raises SpaceError where the images are too small."""
        stages = tuple(self._shrunken(stage) for stage in arch.canonical().stages)
        return arch.model_copy(update={"stages": stages}).fitted(self.resolution)

    def _shrunken(self, stage: Stage) -> Stage:
        width = stage.width if self.width == 1 else min(stage.width, max(8, round(stage.width * self.width / 8) * 8))
        depth = max(round(stage.depth * self.depth), min(stage.depth, len(stage.pattern)), 1)
        return stage.model_copy(update={"width": width, "depth": depth})

    def __str__(self) -> str:
        """Read as `width x0.25, depth x0.5, 32 px`."""
        return f"width x{self.width:g}, depth x{self.depth:g}, {self.resolution} px"
