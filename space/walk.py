# pyright: standard
"""The walk over a space's nodes and its inverse.

`realise` asks a chooser at every open choice, in file order; `encode` returns the choices that yield a point, or says
where the point leaves the space. The path of a choice is its name for every sampler.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any, cast

from pydantic import BaseModel

from space.arch import Architecture
from space.choice import FloatRange, IntRange, OneOf, Repeat, Use
from space.errors import NotInSpace, SpaceError
from space.spec import Spec

Value = bool | int | float | str
Params = dict[str, Value]
"""Path of a choice -> label or number; only the open ones."""
Domain = OneOf[Any] | IntRange | FloatRange
Chooser = Callable[[str, Domain], Value]


def realise(root: Any, lets: dict[str, Any], choose: Chooser) -> Architecture:
    """Ask `choose(path, domain)` at every open choice in file order and return the point.

    Raises pydantic's ValidationError where the choices break a rule across fields.
    """
    bound: dict[str, Any] = {}

    def walk(node: Any, path: str) -> Any:
        match node:
            case Use():
                if node.use not in bound:
                    bound[node.use] = walk(lets[node.use], f"${node.use}")
                return bound[node.use] if node.times == 1 else bound[node.use] * node.times
            case OneOf():
                chosen = cast("OneOf[Any]", node)
                labels = chosen.labels()
                index = _position(choose(path, chosen), labels, path)
                return walk(chosen.alternatives()[index], f"{path}({labels[index]})")
            case IntRange() | FloatRange():
                return choose(path, node)
            case Repeat():
                many = cast("Repeat[Any]", node)
                length = cast("int", choose(f"{path}.length", many.repeat))
                return [walk(many.of, f"{path}[{i}]") for i in range(length)]
            case Spec():
                return node
            case BaseModel():
                return {f: walk(getattr(node, f), _join(path, f)) for f in type(node).model_fields}
            case tuple():
                return [walk(v, f"{path}[{i}]") for i, v in enumerate(cast("tuple[Any, ...]", node))]
            case _:
                return node

    return Architecture.model_validate(walk(root, ""))


def encode(root: Any, lets: dict[str, Any], arch: Architecture) -> Params:
    """Return the choices that yield `arch` exactly, the first that do in file order. Raises NotInSpace."""
    return _Matcher(lets).match(root, arch, "")


def _join(path: str, field: str) -> str:
    return f"{path}.{field}" if path else field


def _position(value: Value, labels: list[Any], path: str) -> int:
    for index, label in enumerate(labels):
        if type(label) is type(value) and label == value:
            return index
    raise SpaceError(f"{path}: {value!r}, the space has {', '.join(map(str, labels))}")


class _Matcher:
    """The inverse walk: finds the choices that yield a value."""

    def __init__(self, lets: dict[str, Any]) -> None:
        self.lets = lets
        self.bound: dict[str, Any] = {}

    def match(self, node: Any, value: Any, path: str) -> Params:
        match node:
            case Use():
                return self._use(cast("Use[Any]", node), value, path)
            case OneOf():
                return self._one_of(cast("OneOf[Any]", node), value, path)
            case IntRange() | FloatRange():
                _need(allows(node, value), path, value, brief(node))
                return {path: value}
            case Repeat():
                many = cast("Repeat[Any]", node)
                _need(
                    isinstance(value, tuple) and len(value) in many.repeat.values(),
                    path,
                    value,
                    f"a length in {many.repeat.int_range}",
                )
                parts = [self.match(many.of, v, f"{path}[{i}]") for i, v in enumerate(value)]
                return _union({f"{path}.length": len(value)}, *parts)
            case Spec():
                _need(type(node) is type(value) and node == value, path, value, f"{brief(node)} with its defaults")
                return {}
            case BaseModel():
                fields = type(node).model_fields
                kind = getattr(node, "kind", None)
                same = isinstance(value, Spec) and type(value).model_fields.keys() == fields.keys()
                _need(same and getattr(value, "kind", None) == kind, path, value, brief(node))
                return _union(
                    *(self.match(getattr(node, f), getattr(value, f), _join(path, f)) for f in fields if f != "kind")
                )
            case tuple():
                nodes = cast("tuple[Any, ...]", node)
                _need(isinstance(value, tuple) and len(value) == len(nodes), path, value, f"{len(nodes)} items")
                return _union(
                    *(self.match(n, v, f"{path}[{i}]") for i, (n, v) in enumerate(zip(nodes, value, strict=True)))
                )
            case _:
                _need(type(node) is type(value) and node == value, path, value, f"{node!r} fixed")
                return {}

    def _use(self, node: Use[Any], value: Any, path: str) -> Params:
        whole = node.times == 1 or (isinstance(value, int) and value % node.times == 0)
        _need(whole, path, value, f"{node.times} x ${node.use}")
        once = value if node.times == 1 else value // node.times
        if node.use in self.bound:
            _need(
                self.bound[node.use] == once,
                path,
                value,
                f"{node.times} x {brief(self.bound[node.use])}, tied by ${node.use}",
            )
            return {}
        self.bound[node.use] = once
        return self.match(self.lets[node.use], once, f"${node.use}")

    def _one_of(self, node: OneOf[Any], value: Any, path: str) -> Params:
        misses: list[NotInSpace] = []
        for label, alternative in zip(node.labels(), node.alternatives(), strict=True):
            before = dict(self.bound)
            try:
                return {path: label} | self.match(alternative, value, f"{path}({label})")
            except NotInSpace as miss:
                misses.append(miss)
                self.bound = before
        inner = [m for m in misses if not m.path.endswith(")")]  # the right kind, wrong within
        if inner:
            raise max(inner, key=lambda m: m.path.count(".") + m.path.count("["))
        raise NotInSpace(path, f"{brief(value)}, the space has {', '.join(map(str, node.labels()))}")


def _need(holds: bool, path: str, value: Any, want: str) -> None:
    if not holds:
        raise NotInSpace(path, f"{brief(value)}, the space has {want}")


def _union(*parts: Params) -> Params:
    return {k: v for part in parts for k, v in part.items()}


def brief(value: Any) -> str:
    """Name a node or a value in a few words."""
    match value:
        case OneOf():
            return ", ".join(map(str, cast("OneOf[Any]", value).labels()))
        case IntRange():
            return f"{value.int_range[0]}..{value.int_range[1]}" + (f" step {value.step}" if value.step > 1 else "")
        case FloatRange():
            return f"{value.float_range[0]}..{value.float_range[1]}"
        case BaseModel():
            return str(getattr(value, "kind", None) or type(value).__name__)
        case tuple():
            return f"{len(cast('tuple[Any, ...]', value))} items"
        case _:
            return repr(value)


def allows(domain: Domain, value: Any) -> bool:
    """Tell whether a choice may take this value."""
    match domain:
        case OneOf():
            return any(type(v) is type(value) and v == value for v in domain.labels())
        case IntRange():
            return type(value) is int and value in domain.values()
        case FloatRange():
            low, high = domain.float_range
            return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


def support(domain: Domain) -> list[Any]:
    """Return the values of a choice; 17 evenly spaced ones of a real range."""
    match domain:
        case OneOf():
            return domain.labels()
        case IntRange():
            return list(domain.values())
        case FloatRange():
            low, high = domain.float_range
            return [low * (high / low) ** (i / 16) if domain.log else low + (high - low) * i / 16 for i in range(17)]


def draw(domain: Domain, rng: random.Random) -> Any:
    """Draw a value uniformly (in the logarithm where the range says so)."""
    if not isinstance(domain, FloatRange):
        return rng.choice(support(domain))
    low, high = domain.float_range
    return min(max(low * (high / low) ** rng.random(), low), high) if domain.log else rng.uniform(low, high)


def uses(node: Any) -> Iterator[Use[Any]]:
    """Find every `use:` below a node."""
    if isinstance(node, Use):
        yield cast("Use[Any]", node)
        return
    children: Any = ()
    if isinstance(node, (tuple, dict)):
        children = node.values() if isinstance(node, dict) else node
    elif isinstance(node, BaseModel):
        children = [getattr(node, f) for f in type(node).model_fields]
    for child in cast("list[Any]", children):
        yield from uses(child)
