"""What every spec is: a frozen, closed, hashable value; and families of them, told apart by `kind`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, dataclass_transform

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, model_serializer
from pydantic_core import CoreSchema, PydanticUndefined, core_schema


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(Field,))
class SpecMeta(type(BaseModel)):
    """Tells type checkers that every spec is frozen, so that a member may narrow `kind` to a Literal."""


class Spec(BaseModel, metaclass=SpecMeta):
    """A frozen, closed, hashable value."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, use_attribute_docstrings=True)

    @model_serializer(mode="wrap")
    def _keep_kind(self, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        kind = getattr(self, "kind", None)  # it has a default, so exclude_defaults would drop it
        return ({"kind": kind} if kind else {}) | handler(self)


class Family(Spec):
    """Root of an open union: a field annotated with the root takes any member, told apart by `kind`."""

    kind: str
    members: ClassVar[dict[str, type[Family]]] = {}
    sealed: ClassVar[bool] = False

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Register a member under its kind; refuse duplicates and members that come too late.

        A class between root and members has no kind of its own, and is none of them.
        """
        if Family in cls.__bases__:
            cls.members = {}
            return
        kind = cls.model_fields["kind"].default
        if kind is PydanticUndefined:
            return
        known = cls.members.get(kind)
        if known is not None and known.__qualname__ != cls.__qualname__:
            raise TypeError(f"{cls.__qualname__}: kind {kind!r} already belongs to {known.__qualname__}")
        if cls.sealed and known is None:
            raise TypeError(
                f"{cls.__qualname__} was defined after its family was first used; import it with its fellows"
            )
        cls.members[kind] = cls

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Build the tagged union of all members for a root, the ordinary model schema for a member."""
        if "members" not in cls.__dict__:
            return handler(source)
        cls.sealed = True
        choices = {kind: handler.generate_schema(member) for kind, member in sorted(cls.members.items())}
        return core_schema.tagged_union_schema(choices, discriminator="kind")
