"""The same network in another size: widths and depths scaled, then snapped onto the choices of a space."""

from __future__ import annotations

from nas.fitted_space import FittedSpace
from space import Architecture, SpaceError
from space.walk import Domain, Value, support

FACTORS = tuple(percent / 100 for percent in range(95, 0, -5))
"""Factors on widths and depths, from mild to drastic."""


class Resize:
    """Scales the widths and depths of one point; every other choice stays."""

    def __init__(self, space: FittedSpace, arch: Architecture) -> None:
        """Find the choices that decide widths and depths alone. Raises NotInSpace."""
        self._space, self._arch = space, arch
        self._params, self._domains = space.encode(arch), space.active(arch)
        self._widths: list[str] = []
        self._depths: list[str] = []
        for path in self._domains:
            changed = self._changed(path)
            if changed is not None and _without(changed, "width") == _without(arch, "width"):
                self._widths.append(path)
            elif changed is not None and _without(changed, "depth") == _without(arch, "depth"):
                self._depths.append(path)

    def __call__(self, width: float, depth: float) -> Architecture | None:
        """Return the point with these factors on widths and depths; None where nothing changes or a rule breaks."""
        values = {path: _nearest(self._domains[path], self._params[path], width) for path in self._widths}
        values |= {path: _nearest(self._domains[path], self._params[path], depth) for path in self._depths}
        try:
            resized = self._space.decode(self._params | values)
        except SpaceError:
            return None
        return resized if resized != self._arch else None

    def _changed(self, path: str) -> Architecture | None:
        """Return the point with another number at this choice, None where it has no other or that breaks a rule."""
        now = self._params[path]
        others = [value for value in _numbers(self._domains[path]) if value != now]
        if not others or isinstance(now, (bool, str)):
            return None
        try:
            return self._space.decode(self._params | {path: others[0]})
        except SpaceError:
            return None


def _numbers(domain: Domain) -> list[int | float]:
    return [value for value in support(domain) if isinstance(value, (int, float)) and not isinstance(value, bool)]


def _without(arch: Architecture, field: str) -> Architecture:
    return arch.model_copy(update={"stages": tuple(stage.model_copy(update={field: 1}) for stage in arch.stages)})


def _nearest(domain: Domain, value: Value, factor: float) -> Value:
    """Return the number of the domain next to `value * factor`; the value itself for factor 1."""
    if factor == 1.0:
        return value
    goal = float(value) * factor
    return min(_numbers(domain), key=lambda number: abs(number - goal))
