"""Errors a user can cause, and pydantic's report in our words.

NasError            every error of ours that a user can cause; the command line prints it in one line
  SpaceError        a space or an architecture is wrong
  NotInSpace        a point lies outside a space
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, cast

from pydantic import BaseModel, ValidationError

CHOICE_TAGS = frozenset({"fixed", "one_of", "int_range", "float_range", "repeat", "use", "items", "named"})
"""Steps that the lifted types add to pydantic's locations; a user never wrote them as such."""


class NasError(ValueError):
    """Root of the errors a user can cause: one line that says where, what stands there and what is allowed."""


class SpaceError(NasError):
    """A space or an architecture is wrong. One line a fault: where, what stands there, what is allowed."""


class NotInSpace(NasError):
    """A point lies outside a space: where, what the point has there, what the space allows."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path or 'architecture'}: {why}")
        self.path = path


def nearest(word: object, known: Iterable[object]) -> str:
    """Return `; did you mean 'x'?` for the closest of the known words, or the empty string."""
    words = [str(k) for k in known]
    begun = sorted((k for k in words if word and k.startswith(str(word))), key=len)  # acc: accuracy rather than macs
    match = begun or difflib.get_close_matches(str(word), words, 1, cutoff=0.5)
    return f"; did you mean {match[0]!r}?" if match else ""


def path_of(steps: Sequence[str | int]) -> str:
    """Write a location as a user would: `stages[2].token_mixer.kernel_size`."""
    out = ""
    for step in steps:
        out += f"[{step}]" if isinstance(step, int) else f".{step}" if out else step
    return out


def _user_steps(loc: tuple[str | int, ...], data: Any) -> list[str | int]:
    """Keep the steps that lead somewhere in the user's own data; pydantic's tags do not."""
    steps: list[str | int] = []
    here, tag = data, None
    for index, step in enumerate(loc):
        if step in CHOICE_TAGS and step != tag:  # the tag of a choice; its field of the same name comes next
            tag = step
            continue
        tag = None
        if isinstance(here, BaseModel):
            here = {name: getattr(here, name) for name in type(here).model_fields}
        if isinstance(here, dict):
            table = cast("dict[Any, Any]", here)
            if step in table:
                steps.append(step)
                here = table[step]
            elif index == len(loc) - 1 and table.get("kind") != step:
                steps.append(step)  # a missing field is not in the data, and yet is the place
            continue
        if isinstance(here, (list, tuple)) and isinstance(step, int) and step < len(cast("Sequence[Any]", here)):
            steps.append(step)
            here = cast("Sequence[Any]", here)[step]
    return steps


def _value(value: Any) -> str:
    if isinstance(value, dict):
        table = cast("dict[str, Any]", value)
        return f"a mapping of {', '.join(map(str, table)) or 'nothing'}"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _sentence(error: Any, fields: Sequence[str]) -> tuple[str, str]:
    """Return (what stands there, what is allowed) for one of pydantic's faults."""
    kind, ctx = str(error["type"]), cast("dict[str, Any]", error.get("ctx", {}))
    if kind == "union_tag_invalid":
        known = str(ctx["expected_tags"]).replace("'", "").split(", ")
        return f"unknown kind {ctx['tag']!r}", f"known: {', '.join(known)}{nearest(ctx['tag'], known)}"
    if kind == "union_tag_not_found":
        return f"{_value(error['input'])} has no 'kind'", "every member of a family is told apart by its kind"
    if kind == "extra_forbidden":
        name = str(error["loc"][-1])
        return "unknown field", f"allowed: {', '.join(fields)}{nearest(name, fields)}" if fields else "not allowed here"
    if kind == "missing":
        return "missing", "this field has no default"
    if kind == "literal_error":
        known = str(ctx["expected"]).replace(" or ", ", ").replace("'", "").split(", ")
        return f"{error['input']!r}", f"allowed: {', '.join(known)}{nearest(error['input'], known)}"
    return _value(error["input"]), str(error["msg"]).removeprefix("Value error, ").removeprefix("Input ")


def explain(error: ValidationError, data: Any, fields_at: Any = None) -> list[str]:
    """Rewrite pydantic's report: one line a fault, the deepest only.

    `data` is what was validated; `fields_at(steps)` may name the fields allowed at a place, for a near miss.
    """
    faults: dict[str, str] = {}
    for fault in error.errors():
        if fault["type"] == "value_error" and not fault["loc"]:  # a rule across fields names its own place
            return [str(fault["msg"]).removeprefix("Value error, ")]
        steps = _user_steps(fault["loc"], data)
        fields: Sequence[str] = fields_at(fault["loc"]) if fields_at and fault["type"] == "extra_forbidden" else ()
        what, allowed = _sentence(fault, fields)
        faults.setdefault(path_of(steps), f"{what}: {allowed}" if what else allowed)
    deepest = [p for p in faults if not any(o != p and o.startswith((p + ".", p + "[")) for o in faults)]
    return [f"{path or 'top level'}: {faults[path]}" for path in deepest]
