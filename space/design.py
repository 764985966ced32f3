"""The design space: everything a file allows, and what a sampler, a search or a user asks of it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from space import feasible, variation
from space.arch import Architecture
from space.choice import OneOf
from space.errors import NotInSpace, SpaceError, explain
from space.proxy import Proxy
from space.size import Size, size_of
from space.source import Source
from space.walk import Chooser, Domain, Params, Value, allows, brief, draw, encode, realise, support


class DesignSpace:
    """Everything a space file allows. A point is an `Architecture`; its coordinates here are `Params`."""

    def __init__(self, source: Source) -> None:
        """Check that every label and both ends of every range occur in some valid point. Raises SpaceError."""
        self.name: str = source.name
        self.text: str = source.text
        self.resolution: int = source.resolution
        self.proxy: Proxy | None = source.proxy
        self._root: Any = source.root
        self._lets: dict[str, Any] = source.lets
        if dead := self._never_valid():
            raise SpaceError("\n".join(f"{source.name}: {line}" for line in dead[:5]))

    @classmethod
    def load(cls, name_or_path: str | Path) -> DesignSpace:
        """Read a space file, or a preset by its name (`metaformer`, `metaformer.yaml`). Raises SpaceError."""
        return cls(Source.read(name_or_path))

    @classmethod
    def from_yaml(cls, text: str, name: str = "space") -> DesignSpace:
        """Read a space from YAML text. Raises SpaceError."""
        return cls(Source.parse(text, name))

    def realise(self, choose: Chooser) -> Architecture:
        """Ask `choose(path, domain)` at every open choice in file order and return the point.

        Raises pydantic's ValidationError where the choices break a rule across fields.
        """
        return realise(self._root, self._lets, choose)

    def encode(self, arch: Architecture) -> Params:
        """Return the choices that yield `arch` exactly, the first that do in file order. Raises NotInSpace."""
        return encode(self._root, self._lets, arch)

    def decode(self, params: Params) -> Architecture:
        """Return the point of these choices. Raises SpaceError where one is missing or not allowed."""

        def choose(path: str, domain: Domain) -> Value:
            if path not in params:
                raise SpaceError(f"{path}: no value; the choice is open here")
            if not allows(domain, params[path]):
                raise SpaceError(f"{path}: {params[path]!r}, the space has {brief(domain)}")
            return params[path]

        try:
            return self.realise(choose)
        except ValidationError as error:
            raise SpaceError("; ".join(explain(error, {}))) from None

    def active(self, arch: Architecture) -> dict[str, Domain]:
        """Return the choices open at `arch`, by path. Raises NotInSpace."""
        params, seen = self.encode(arch), dict[str, Domain]()

        def choose(path: str, domain: Domain) -> Value:
            seen[path] = domain
            return params[path]

        self.realise(choose)
        return seen

    def __contains__(self, arch: Architecture) -> bool:
        """Tell whether some choices yield `arch`."""
        try:
            self.encode(arch)
        except NotInSpace:
            return False
        return True

    def sample(self, rng: random.Random) -> Architecture:
        """Draw every choice uniformly. Raises SpaceError when 100 draws in a row break a rule."""
        for _ in range(100):
            try:
                return self.realise(lambda _, domain: draw(domain, rng))
            except ValidationError:
                continue
        raise SpaceError(
            f"{self.name}: 100 draws in a row were invalid; narrow the ranges or turn the rule into a choice"
        )

    def sample_feasible(self, rng: random.Random, violation: Callable[[Architecture], float]) -> Architecture:
        """Draw a point whose `violation` is 0; see `space.feasible`. Raises SpaceError when none is found."""
        return feasible.sample_feasible(self, rng, violation)

    def mutate(self, arch: Architecture, rng: random.Random) -> Architecture:
        """Redraw one choice; what it opens is drawn, what it leaves alone is kept. Raises NotInSpace, SpaceError."""
        return variation.mutate(self, arch, rng)

    def crossover(self, a: Architecture, b: Architecture, rng: random.Random) -> Architecture:
        """Take each choice from either parent; what neither has open is drawn. Raises NotInSpace, SpaceError."""
        return variation.crossover(self, a, b, rng)

    def distance(self, a: Architecture, b: Architecture) -> float:
        """Gower distance over choices, in [0, 1]. Raises NotInSpace."""
        return variation.distance(self, a, b)

    def size(self) -> Size:
        """Count the ways to choose."""
        return size_of(self._root, self._lets)

    def _never_valid(self, rounds: int = 200) -> list[str]:
        """Name the choices that occur in no valid point, by each-choice coverage."""
        rng, tries, valid, why = random.Random(0), Counter[Any](), set[Any](), dict[Any, str]()
        why_not = ""
        for _ in range(rounds):
            taken: list[tuple[str, Any]] = []

            def choose(path: str, domain: Domain, taken: list[tuple[str, Any]] = taken) -> Value:
                ends = support(domain)
                ends = ends if isinstance(domain, OneOf) else list(dict.fromkeys((ends[0], ends[-1])))
                value = min(rng.sample(ends, len(ends)), key=lambda v: tries[path, v])
                taken.append((path, value))
                tries[path, value] += 1
                return value

            try:
                self.realise(choose)
                valid.update(taken)
            except ValidationError as error:
                why_not = "; ".join(explain(error, {}))
                why |= dict.fromkeys(taken, why_not)
        if not valid and why_not:
            return [why_not]
        dead = sorted(why.keys() - valid, key=lambda k: (len(k[0]), str(k)))
        return [f"{path}: {value!r} is never valid: {why[path, value]}" for path, value in dead]
