"""Reading space files and point files: YAML to typed nodes, with every fault named by file, place and remedy."""

from __future__ import annotations

import importlib.resources
from collections.abc import Hashable
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple, cast, get_args, get_origin

import yaml
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from space.arch import Architecture
from space.choice import NODES, IntRange, OneOf, lift
from space.errors import NasError, SpaceError, explain, nearest
from space.proxy import Proxy
from space.spec import Family, Spec
from space.walk import uses

EXTRAS = ("let", "proxy", "resolution", "description")
"""Top-level keys of a space file that are not part of the point."""


class _Extras(Spec):
    proxy: Proxy = Proxy()
    resolution: Annotated[int, Field(ge=8, le=4096)] = 224
    description: str = ""


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice, where plain YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = cast("Any", self).construct_object(key_node, deep=True)
            if key in seen:
                mark = key_node.start_mark
                raise SpaceError(f"line {mark.line + 1}: key {key!r} stands twice in one mapping")
            seen.add(key)
        return super().construct_mapping(node, deep)


class Source(NamedTuple):
    """A space file, read and typed."""

    name: str
    text: str
    root: Any
    lets: dict[str, Any]
    resolution: int
    proxy: Proxy | None

    @classmethod
    def read(cls, name_or_path: str | Path) -> Source:
        """Read a file, or a preset by its name. Raises SpaceError."""
        path = Path(name_or_path).expanduser()
        if path.is_file():
            return cls.parse(read_text(path), path.name)
        known = presets()
        word = str(name_or_path).removesuffix(".yaml").removesuffix(".yml")
        if word not in known:
            names = ", ".join(known)
            raise SpaceError(
                f"{name_or_path}: no such file, and no preset of that name; presets: {names}{nearest(word, known)}"
            )
        return cls.parse(known[word].read_text(encoding="utf-8"), f"{word}.yaml")

    @classmethod
    def parse(cls, text: str, name: str) -> Source:
        """Type the text of a space file; `name` stands in the messages. Raises SpaceError."""
        tree = load_yaml(text, name)
        lets = tree.get("let", {})
        if not isinstance(lets, dict):
            raise SpaceError(f"{name}: let: {lets!r}, a mapping of names to definitions is needed")
        extras = {k: v for k, v in tree.items() if k in EXTRAS and k != "let"}
        point = {k: v for k, v in tree.items() if k not in EXTRAS}
        try:
            settings = _Extras.model_validate(extras)
        except ValidationError as error:
            raise _located(error, name, extras) from None
        root = _typed(_adapter(), point, name)
        typed = _definitions(root, dict(cast("dict[str, Any]", lets)), name)
        return cls(name, text, root, typed, settings.resolution, settings.proxy if "proxy" in extras else None)


def presets() -> dict[str, Any]:
    """Return the bundled spaces by name."""
    folder = importlib.resources.files("space") / "presets"
    return {
        p.name.removesuffix(".yaml"): p
        for p in sorted(folder.iterdir(), key=lambda p: p.name)
        if p.name.endswith(".yaml")
    }


def read_text(path: Path) -> str:
    """Read a text file. Raises SpaceError where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise SpaceError(f"{path}: cannot be read: {reason}") from None


def read_architecture(path: str | Path) -> Architecture:
    """Read one point from a YAML or JSON file. Raises SpaceError."""
    file = Path(path).expanduser()
    tree = load_yaml(read_text(file), file.name)
    try:
        return Architecture.model_validate(tree)
    except ValidationError as error:
        raise _located(error, file.name, tree) from None


def load_yaml(text: str, name: str) -> dict[str, Any]:
    """Parse YAML (or JSON) whose top level is a mapping. Raises SpaceError."""
    try:
        tree: Any = yaml.load(text, _Loader)
    except NasError as error:
        raise SpaceError(f"{name}: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise SpaceError(f"{name}: {place}not valid YAML: {getattr(error, 'problem', None) or error}") from None
    except RecursionError:
        raise SpaceError(f"{name}: nested too deeply") from None
    if not isinstance(tree, dict):
        found = "nothing" if tree is None else f"a {type(cast('object', tree)).__name__}"
        raise SpaceError(f"{name}: {found} at the top level, a mapping is needed")
    return cast("dict[str, Any]", tree)


@cache
def _adapter() -> TypeAdapter[Any]:
    return TypeAdapter[Any](lift(Architecture))


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of space files, for editors: a point or a choice of them, beside `let` and extras."""
    schema = _adapter().json_schema()
    extras = _Extras.model_json_schema(ref_template="#/$defs/{model}")
    beside = extras["properties"] | {"let": {"type": "object", "description": "Definitions to `use`, by name."}}
    tops: list[dict[str, Any]] = [schema["$defs"][ref["$ref"].rpartition("/")[2]] for ref in schema.pop("oneOf")]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "nas design space",
        "$defs": schema["$defs"] | extras["$defs"],
        "anyOf": [top | {"properties": top["properties"] | beside} for top in tops],
    }


def _typed(adapter: TypeAdapter[Any], tree: Any, name: str, prefix: str = "") -> Any:
    try:
        return adapter.validate_python(tree)
    except ValidationError as error:
        raise _located(error, name, tree, prefix) from None


def _definitions(root: Any, lets: dict[str, Any], name: str) -> dict[str, Any]:
    """Type each definition under `let` by the place that uses it."""
    typed: dict[str, Any] = {}
    known = list(lets)
    queue = list(uses(root))
    while queue:
        use = queue.pop(0)
        if use.use in lets:
            site = cast("Any", type(use)).__pydantic_generic_metadata__["args"][0]
            typed[use.use] = _typed(TypeAdapter[Any](site), lets.pop(use.use), name, f"let.{use.use}")
            queue += list(uses(typed[use.use]))
        elif use.use not in typed:
            raise SpaceError(
                f"{name}: use: {use.use!r} is not under let; known: {', '.join(known) or 'none'}"
                + nearest(use.use, known)
            )
    for use in [*uses(root), *(inner for node in typed.values() for inner in uses(node))]:
        if use.times > 1 and not _counts(typed[use.use]):
            raise SpaceError(
                f"{name}: let.{use.use}: used with times: {use.times}, so it must be a whole number or a choice of them"
            )
    if lets:
        raise SpaceError(
            f"{name}: let.{next(iter(lets))}: never used; remove it or refer to it by {{use: {next(iter(lets))}}}"
        )
    _refuse_cycles(typed, name)
    return typed


def _counts(node: Any) -> bool:
    """Tell whether a definition yields whole numbers only."""
    if isinstance(node, OneOf):
        return all(_counts(a) for a in cast("OneOf[Any]", node).alternatives())
    return isinstance(node, IntRange) or type(node) is int


def _refuse_cycles(lets: dict[str, Any], name: str) -> None:
    inner = {key: {use.use for use in uses(node)} for key, node in lets.items()}

    def visit(key: str, trail: tuple[str, ...]) -> None:
        if key in trail:
            raise SpaceError(f"{name}: let.{key}: uses itself, by {' -> '.join((*trail, key))}")
        for other in sorted(inner[key]):
            visit(other, (*trail, key))

    for key in inner:
        visit(key, ())


def _located(error: ValidationError, name: str, data: Any, prefix: str = "") -> SpaceError:
    join = "" if not prefix else f"{prefix}."
    lines = [
        f"{name}: {join}{line}".replace(f"{join}top level", prefix or "top level")
        for line in explain(error, data, fields_at)
    ]
    return SpaceError("\n".join(lines))


def fields_at(loc: tuple[str | int, ...]) -> list[str]:
    """Name the fields allowed where pydantic found one too many: follow the location through the point's types."""
    here: Any = Architecture
    node: str | None = None
    for step in loc[:-1]:
        if isinstance(step, int) or step == "fixed":
            continue
        if step in NODES:
            node = step
        elif here in (None, Architecture) or not isinstance(here, type):
            here = _spec_of(here, step)
            node = None
        elif issubclass(here, Family) and "members" in here.__dict__ and step in here.members:
            here, node = here.members[step], None
        else:
            here, node = _spec_of(here, step), None
    if node:
        return list(NODES[node].model_fields)
    if here is Architecture:
        return [*Architecture.model_fields, *EXTRAS]
    return list(here.model_fields) if isinstance(here, type) and issubclass(here, BaseModel) else []


def _spec_of(model: Any, field: str) -> Any:
    """Return the spec class that a field holds, looking through tuples and annotations."""
    if not (isinstance(model, type) and issubclass(model, BaseModel)) or field not in model.model_fields:
        return None
    annotation: Any = model.model_fields[field].annotation
    while get_origin(annotation) in (tuple, Annotated):
        annotation = get_args(annotation)[0]
    return annotation if isinstance(annotation, type) and issubclass(annotation, Spec) else None


__all__ = ["Source", "fields_at", "json_schema", "load_yaml", "presets", "read_architecture", "read_text"]
