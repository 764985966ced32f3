"""A design space whose points have the classes and channels of the data at hand.

A space file speaks of networks for its own number of classes (1000 where it says nothing); a search needs those of its
data. The choices and their paths stay the same.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from pydantic import ValidationError

from space import Architecture, DesignSpace, SpaceError
from space.walk import Chooser, Domain, Params, Value, support


class FittedSpace:
    """The points of `space` with `classes` and `in_channels` put in, and with mixers fitted to images of `resolution`."""

    def __init__(self, space: DesignSpace, *, classes: int, in_channels: int, resolution: int | None = None) -> None:
        """Keep the space and what its own points have, to be able to encode. `resolution` None: the space's own."""
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
        """Return the network with the data's classes, channels and resolution; one that cannot run there stays unfitted."""
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
        own = arch.model_copy(update={"classes": self._own.classes, "in_channels": self._own.in_channels})
        try:
            own = own.fitted(self.space.resolution)
        except SpaceError:
            pass  # smaller than the space's own images allow: encode as it stands
        return self.space.encode(own)

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
        prefix: list[tuple[list[Value], int]] = []
        while True:
            taken: list[tuple[list[Value], int]] = []

            def choose(path: str, domain: Domain, taken: list[tuple[list[Value], int]] = taken) -> Value:
                step = len(taken)
                taken.append(prefix[step] if step < len(prefix) else (support(domain), 0))
                return taken[step][0][taken[step][1]]

            try:
                yield self.realise(choose)
            except ValidationError:
                pass  # these choices break a rule across fields: no point
            while taken and taken[-1][1] + 1 == len(taken[-1][0]):
                taken.pop()
            if not taken:
                return
            values, index = taken.pop()
            prefix = [*taken, (values, index + 1)]
