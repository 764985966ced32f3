"""A design space whose points have the classes and channels of the data at hand.

A space file speaks of networks for its own number of classes (1000 where it says nothing); a search needs those of its
data. The choices and their paths stay the same.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator

from pydantic import ValidationError

from space import Architecture, DesignSpace, SpaceError
from space.walk import Chooser, Domain, Params, Value, support


class FittedSpace:
    """The points of `space` with `classes` and `in_channels` put in, and mixers fitted to images of `resolution`."""

    def __init__(self, space: DesignSpace, *, classes: int, in_channels: int, resolution: int | None = None) -> None:
        """Keep the space, and what its own points have, so as to encode. `resolution` None: the space's own."""
        self.space = space
        self.resolution = resolution or space.resolution
        self._own = space.sample(random.Random(0))
        self._update = {"classes": classes, "in_channels": in_channels}

    def at(self, resolution: int) -> FittedSpace:
        """Return the same space fitted to another resolution."""
        update = self._update
        return FittedSpace(
            self.space, classes=update["classes"], in_channels=update["in_channels"], resolution=resolution
        )

    def fit(self, arch: Architecture) -> Architecture:
        """Return the network with the data's classes, channels and resolution; unfitted where it cannot run there."""
        fitted = arch.model_copy(update=self._update)
        if self.resolution == self.space.resolution:
            return fitted
        try:
            return fitted.fitted(self.resolution)
        except SpaceError:
            return fitted

    def realise(self, choose: Chooser) -> Architecture:
        """Ask `choose(path, domain)` at every open choice and return the fitted point; see `DesignSpace.realise`."""
        return self.fit(self.space.realise(choose))

    def encode(self, arch: Architecture) -> Params:
        """Return the choices that yield `arch`, whatever its classes, channels and fitting. Raises NotInSpace."""
        return self.space.encode(self._unfitted(arch))

    def mutate(self, arch: Architecture, rng: random.Random) -> Architecture:
        """Redraw one choice; see `DesignSpace.mutate`. Raises NotInSpace, SpaceError."""
        return self.fit(self.space.mutate(self._unfitted(arch), rng))

    def _unfitted(self, arch: Architecture) -> Architecture:
        own = arch.model_copy(update={"classes": self._own.classes, "in_channels": self._own.in_channels})
        try:
            return own.fitted(self.space.resolution)
        except SpaceError:
            return own  # it cannot run at the space's own resolution: nothing to fit

    def decode(self, params: Params) -> Architecture:
        """Return the fitted point of these choices. Raises SpaceError."""
        return self.fit(self.space.decode(params))

    def active(self, arch: Architecture) -> dict[str, Domain]:
        """Return the choices open at `arch`, by path. Raises NotInSpace."""
        params, seen = self.encode(arch), dict[str, Domain]()

        def choose(path: str, domain: Domain) -> Value:
            seen[path] = domain
            return params[path]

        self.space.realise(choose)
        return seen

    def draw(self, rng: random.Random, violation: Callable[[Architecture], float]) -> Architecture:
        """Draw a fitted point that `violation` finds feasible. Raises SpaceError when none is found."""
        return self.fit(self.space.sample_feasible(rng, lambda arch: violation(self.fit(arch))))

    def points(self) -> Iterator[Architecture]:
        """Yield every point of a space without real ranges, in file order; meant for small spaces."""
        path: list[tuple[list[Value], int]] = []
        while True:
            walk = _Walk(path)
            with contextlib.suppress(ValidationError):  # these choices break a rule across fields: no point
                yield self.realise(walk)
            path = walk.path
            while path and path[-1][1] + 1 == len(path[-1][0]):
                path.pop()
            if not path:
                return
            values, index = path.pop()
            path.append((values, index + 1))


class _Walk:
    """A chooser that follows a path of (values, index) and takes the first value of every choice beyond it."""

    def __init__(self, prefix: list[tuple[list[Value], int]]) -> None:
        self.path: list[tuple[list[Value], int]] = []
        self._prefix = prefix

    def __call__(self, path: str, domain: Domain) -> Value:
        step = len(self.path)
        self.path.append(self._prefix[step] if step < len(self._prefix) else (support(domain), 0))
        values, index = self.path[-1]
        return values[index]
