# pyright: standard
"""Choices, and the lifting of a point's type to the type that takes choices anywhere.

`lift(Architecture)` rewrites each annotation `T` of the point to `T | one_of | range | repeat | use`, keeping the
field's own rules and defaults, so that a space file has the shape of a point with choices standing in it. Types made
from types are beyond a strict checker; this file is checked by the standard rules.
"""

from __future__ import annotations

from functools import cache, cached_property
from typing import Annotated, Any, Generic, TypeVar, Union, cast, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    create_model,
    model_validator,
)
from pydantic_core import core_schema

from space.spec import Family, Spec

T = TypeVar("T")
Label = bool | int | float | str


class Choice(BaseModel):
    """A place where a space leaves something open."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class OneOf(Choice, Generic[T]):
    """One of several alternatives: a list, or a mapping of names to alternatives."""

    one_of: Annotated[
        Annotated[tuple[T, ...], Field(min_length=1), Tag("items")]
        | Annotated[dict[str, T], Field(min_length=1), Tag("named")],
        Discriminator(lambda value: "named" if isinstance(value, dict) else "items"),
    ]

    def alternatives(self) -> tuple[T, ...]:
        """Return the alternatives in file order."""
        return tuple(self.one_of.values()) if isinstance(self.one_of, dict) else self.one_of

    @cached_property
    def _labels(self) -> list[Label]:
        if isinstance(self.one_of, dict):
            return list(self.one_of)
        raw: list[Label] = [_label(a, i) for i, a in enumerate(self.one_of)]
        once = {r: sum(type(o) is type(r) and o == r for o in raw) == 1 for r in raw}
        return [r if once[r] else f"{r}#{sum(o == r for o in raw[:i])}" for i, r in enumerate(raw)]

    def labels(self) -> list[Label]:
        """Name the alternatives: as given, or scalars for themselves, specs by kind (`kind#1` if repeated), or `#i`."""
        return self._labels


def _label(alternative: Any, index: int) -> Label:
    kind = getattr(alternative, "kind", None)
    if isinstance(kind, str):
        return kind
    return alternative if isinstance(alternative, (bool, int, float, str)) else f"#{index}"


class IntRange(Choice):
    """Whole numbers from low to high, both included, in steps."""

    int_range: tuple[int, int]
    step: Annotated[int, Field(ge=1)] = 1

    @model_validator(mode="after")
    def _ordered(self) -> IntRange:
        low, high = self.int_range
        if low > high:
            raise ValueError(f"int_range [{low}, {high}] is empty; the lower end comes first")
        if (high - low) % self.step:
            raise ValueError(
                f"step {self.step} does not lead from {low} to {high}; nearest end is {high - (high - low) % self.step}"
            )
        return self

    def values(self) -> range:
        """Return the numbers."""
        return range(self.int_range[0], self.int_range[1] + 1, self.step)


class FloatRange(Choice):
    """Real numbers from low to high, uniform or uniform in the logarithm."""

    float_range: tuple[float, float]
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> FloatRange:
        low, high = self.float_range
        if low > high:
            raise ValueError(f"float_range [{low}, {high}] is empty; the lower end comes first")
        if self.log and low <= 0:
            raise ValueError(f"float_range [{low}, {high}] with log: true must be above 0")
        return self


class Use(Choice, Generic[T]):
    """A choice made once under `let:` and shared; `times` scales it (widths that double)."""

    use: str
    times: Annotated[int, Field(ge=1)] = 1


class Repeat(Choice, Generic[T]):
    """A tuple of drawn length whose items are drawn independently."""

    repeat: IntRange
    of: T


NODES: dict[str, type[Choice]] = {
    "one_of": OneOf,
    "int_range": IntRange,
    "float_range": FloatRange,
    "use": Use,
    "repeat": Repeat,
}


def _tag(value: Any) -> str:
    if isinstance(value, dict):
        return next((k for k in NODES if k in value), "fixed")
    return next((k for k, node in NODES.items() if isinstance(value, node)), "fixed")


def _options(fixed: Any, **choices: Any) -> Any:
    """`fixed`, or a choice over it, or a `use` of a definition that is either."""

    def union(**options: Any) -> Any:
        return Annotated[Union[tuple(Annotated[t, Tag(name)] for name, t in options.items())], Discriminator(_tag)]  # noqa: UP007

    inner = OneOf[union(fixed=fixed, **choices)]
    plain = union(fixed=fixed, one_of=inner, **choices)
    nested = OneOf[union(fixed=fixed, one_of=inner, **choices, use=Use[plain])]
    own = {"fixed": fixed, "one_of": nested, **choices}
    return union(**own, use=Use[union(**own)])


def lift(annotation: Any, meta: tuple[Any, ...] = ()) -> Any:
    """Return the annotation that takes choices over what `annotation` takes."""
    if get_origin(annotation) is Annotated:
        base, *extra = get_args(annotation)
        return lift(base, (*meta, *extra))
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        is_root = issubclass(annotation, Family) and "members" in annotation.__dict__
        lifted: Any = _lift_family if is_root else lift_model
        return _options(lifted(annotation))
    if get_origin(annotation) is tuple and get_args(annotation)[1:] == (...,):
        item = lift(get_args(annotation)[0])
        items = Annotated[tuple[item, ...], *(meta or (None,))]
        return _options(items, repeat=Repeat[item])
    if get_origin(annotation) is Union:
        raise TypeError(f"{annotation}: in a spec use a Family, not a bare union")
    return _lift_leaf(annotation, meta)


def _lift_leaf(annotation: Any, meta: tuple[Any, ...]) -> Any:
    leaf = Annotated[annotation, *(meta or (None,))]
    check = TypeAdapter[Any](cast("Any", leaf)).validate_python

    def admit(choice: IntRange | FloatRange) -> IntRange | FloatRange:
        """Hold the leaf's rules all along a range."""
        for value in choice.values() if isinstance(choice, IntRange) else choice.float_range:
            check(value)
        return choice

    ranges: dict[Any, dict[str, Any]] = {int: {"int_range": IntRange}, float: {"float_range": FloatRange}}
    return _options(leaf, **{k: Annotated[c, AfterValidator(admit)] for k, c in ranges.get(annotation, {}).items()})


@cache
def lift_model(model: Any) -> type[BaseModel]:
    """Return the model of the same fields, each lifted."""
    fields: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        lifted = field.annotation if name == "kind" else lift(field.annotation, tuple(field.metadata))
        default = ... if field.is_required() else field.default
        fields[name] = (lifted, Field(default=default, description=field.description))
    return create_model(model.__name__, __config__=Choice.model_config, __doc__=model.__doc__, **fields)


@cache
def _lift_family(root: Any) -> Any:
    def schema(_: Any, source: Any, handler: Any) -> Any:  # built late: a family may contain itself
        members = sorted(root.members.items())
        choices = {kind: handler.generate_schema(lift_model(member)) for kind, member in members}
        return core_schema.tagged_union_schema(cast("dict[Any, Any]", choices), discriminator="kind")

    return type(root.__name__, (), {"__get_pydantic_core_schema__": classmethod(schema), "root": root})
