"""How many points a space has, counted without drawing any."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, cast

from pydantic import BaseModel

from space.choice import FloatRange, IntRange, OneOf, Repeat, Use
from space.spec import Spec
from space.walk import support

Counts = dict[frozenset[str], int]
"""Number of ways, told apart by the shared definitions they use; a shared choice is made once."""


class Size(NamedTuple):
    """Ways to choose: `points` (None where a real range makes them uncountable), and their binary logarithm.

    A real range counts as 17 values in `bits`. Different choices may yield one function (see Architecture.id).
    """

    points: int | None
    bits: float


def size_of(root: Any, lets: dict[str, Any]) -> Size:
    """Count the ways to choose below `root`."""
    real = [False]
    total = 0
    for used, ways in _count(root, real).items():
        total += ways * _shared(used, lets, real)
    return Size(None if real[0] else total, math.log2(total))


def _shared(used: frozenset[str], lets: dict[str, Any], real: list[bool]) -> int:
    """Ways to choose the used definitions and those they use in turn, each once."""
    open_, ways = [(used, frozenset[str](), 1)], 0
    while open_:
        todo, done, factor = open_.pop()
        rest = sorted(todo - done)
        if not rest:
            ways += factor
            continue
        for inner, count in _count(lets[rest[0]], real).items():
            open_.append((todo | inner, done | {rest[0]}, factor * count))
    return ways


def _count(node: Any, real: list[bool]) -> Counts:
    match node:
        case Use():
            return {frozenset({node.use}): 1}
        case OneOf():
            return _sum([_count(a, real) for a in cast("OneOf[Any]", node).alternatives()])
        case IntRange():
            return {frozenset(): len(node.values())}
        case FloatRange():
            real[0] = real[0] or node.float_range[0] < node.float_range[1]
            return {frozenset(): len(support(node))}
        case Repeat():
            many = cast("Repeat[Any]", node)
            one = _count(many.of, real)
            return _sum([_product([one] * length) for length in many.repeat.values()])
        case Spec():
            return {frozenset(): 1}
        case BaseModel():
            return _product([_count(getattr(node, f), real) for f in type(node).model_fields])
        case tuple():
            return _product([_count(v, real) for v in cast("tuple[Any, ...]", node)])
        case _:
            return {frozenset(): 1}


def _sum(parts: list[Counts]) -> Counts:
    out: Counts = {}
    for part in parts:
        for used, ways in part.items():
            out[used] = out.get(used, 0) + ways
    return out


def _product(parts: list[Counts]) -> Counts:
    out: Counts = {frozenset(): 1}
    for part in parts:
        out = _sum([{a | b: m * n} for a, m in out.items() for b, n in part.items()])
    return out
