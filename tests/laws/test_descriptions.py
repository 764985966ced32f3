"""Descriptions tell points apart: every field of every member and of the grand space's points changes the words."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Any, Literal, get_args, get_origin

import pytest
from members import ROOTS, specs
from pydantic import ValidationError

from space import Architecture, DesignSpace, describe, model_names, named
from space.arch import Block, Stage
from space.channel_mixers.mlp import Mlp
from space.describe import LEFT_OUT
from space.downsamples import NoDownsample, StridedConv
from space.families import ChannelMixer, Downsample, Gate, Head, Norm, Stem, TokenMixer
from space.mixers.pool import Pool
from space.spec import Spec
from space.stems import Patchify, PatchSequence

FAMILIES = (*ROOTS, Gate)
RANDOM_POINTS = 4
Field = tuple[str, str]
"""The kind of a spec, or its type where it has none, and the name of the field."""


def around(spec: Spec) -> Architecture:
    """A point of two stages that holds the spec."""
    block = Block(
        token_mixer=spec if isinstance(spec, TokenMixer) else Pool(),
        channel_mixer=spec if isinstance(spec, ChannelMixer) else Mlp(),
        norm=spec if isinstance(spec, Norm) else Block.model_fields["norm"].default,
    )
    head = spec if isinstance(spec, Head) else Architecture.model_fields["head"].default
    stem = PatchSequence(class_tokens=16) if head.tokens_read() else Patchify()
    stem = spec if isinstance(spec, Stem) else stem
    between = NoDownsample() if stem.in_a_row() else StridedConv()
    downsample = spec if isinstance(spec, Downsample) else between
    first = Stage(width=64, depth=2, pattern=(block,))
    stages = (first, first.model_copy(update={"downsample": downsample}))
    return Architecture(stem=stem, stages=stages, head=head)


def others(spec: Spec, name: str, value: Any) -> Iterator[Any]:
    """Values that may stand in the place of `value`, the nearest first; not all need be valid."""
    annotation = type(spec).model_fields[name].annotation
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, (int, float)):
        yield from (value + 1, value + 2, value - 1, value - 2, value * 2, value / 2, value + 0.01)
    if get_origin(annotation) is Literal:
        yield from (other for other in get_args(annotation) if other != value)
    for root in FAMILIES:
        if isinstance(value, root):
            for kind, member in root.members.items():
                if kind != value.kind and not any(f.is_required() for f in member.model_fields.values()):
                    yield member()


def changed(spec: Spec, name: str, values: Iterator[Any] | list[Any]) -> Spec | None:
    """The spec with the first of the values that it allows there."""
    fields = {field: getattr(spec, field) for field in type(spec).model_fields}
    for value in values:
        try:
            return type(spec).model_validate(fields | {name: value})
        except ValidationError:
            continue
    return None


def variants(spec: Spec) -> Iterator[tuple[Field, Spec]]:
    """The spec with one field changed, its own and those of what it holds."""
    for name in type(spec).model_fields:
        value = getattr(spec, name)
        if name != "kind" and (other := changed(spec, name, others(spec, name, value))) is not None:
            yield (str(getattr(spec, "kind", type(spec).__name__)), name), other
        items = value if isinstance(value, tuple) else (value,)
        for index, item in enumerate(items):
            for field, inner in variants(item) if isinstance(item, Spec) else ():
                put = (*items[:index], inner, *items[index + 1 :]) if isinstance(value, tuple) else inner
                if (whole := changed(spec, name, [put])) is not None:
                    yield field, whole


def told_apart(arch: Architecture, others: Iterable[tuple[Field, Spec]]) -> set[Field]:
    """Check that points which differ in one field differ in words, or not if left out; return the fields."""
    found: set[Field] = set()
    words = describe(arch)
    for field, other in others:
        assert isinstance(other, Architecture)
        if other.id != arch.id:
            assert (describe(other) == words) == (field[1] in LEFT_OUT), (field, words, describe(other))
            found.add(field)
    return found


def test_every_field_of_every_member_is_in_the_words() -> None:
    bare = around(Pool())
    found = told_apart(bare, variants(bare))
    for parameter in specs(ROOTS):
        spec = parameter.values[0]
        found |= told_apart(around(spec), ((field, around(other)) for field, other in variants(spec)))
    members = [member for root in FAMILIES for member in root.members.values()]
    assert members
    for owner in (Architecture, Stage, Block, *members):
        kind = owner.model_fields["kind"].default if "kind" in owner.model_fields else owner.__name__
        for name in owner.model_fields.keys() - {"kind", "stages", "pattern"}:
            assert (kind, name) in found, f"{kind}.{name} was never changed"


@pytest.mark.parametrize("family", sorted({named(name).family for name in model_names()}))
def test_every_field_of_the_named_networks_is_in_the_words(family: str) -> None:
    names = [name for name in model_names() if named(name).family == family]
    arch = named(random.Random(family).choice(names)).arch
    assert told_apart(arch, variants(arch))


@pytest.mark.parametrize("seed", range(RANDOM_POINTS))
def test_every_field_of_random_points_is_in_the_words(seed: int) -> None:
    arch = DesignSpace.load("metaformer").sample(random.Random(seed))
    assert told_apart(arch, variants(arch))


def test_patterns_are_told_in_their_order_and_length() -> None:
    a, b = Block(token_mixer=Pool()), Block(token_mixer=Pool(size=5))
    told = {
        describe(around(Pool()).model_copy(update={"stages": (Stage(width=64, depth=12, pattern=pattern),)}))
        for pattern in ((a, b), (b, a), (a, b, b), (a, a, b), (a,), (a, a))
    }
    assert len(told) == 5


def test_words_are_short_and_say_where_norms_stand() -> None:
    assert describe(named("convnext_tiny").arch) == (
        "96-192-384-768 x 3-3-9-3, metanext, depthwise_conv 7, mlp x4 gelu, layer_norm, layer_scale 1e-06; patchify 4"
    )
    assert "layer_norm before and after" in describe(named("internimage_huge").arch)
    assert "layer_norm after" in describe(named("internimage_small").arch)
    assert "norm layer_norm" in describe(named("focalnet_huge_fl3").arch)
