"""Pages as HTML, so that their words are there before any script is: the same elements, with controls that wait.

A control does nothing until its script has come and draws the page anew; it stands here at its size, so that nothing
moves then. Ids are left out, as the page that takes the place of this one has them.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

_VOID = ("img", "br", "hr", "input")
_NAMES = {"className": "class", "tabIndex": "tabindex", "open": "open"}
_KEPT = ("className", "tabIndex", "open", "href", "src", "alt", "title", "role", "scope", "max", "value", "download")


def markup(node: Any) -> str:
    """Return a tree of elements as HTML; every word in it is escaped."""
    if node is None or isinstance(node, bool):
        return ""
    if isinstance(node, (list, tuple)):
        return "".join(map(markup, node))
    if not hasattr(node, "to_plotly_json"):
        return escape(str(node))
    made = _CONTROLS.get(node._type)
    if made is not None:
        return made(node)
    return _element(node._type.lower(), node, markup(getattr(node, "children", None)))


def _element(tag: str, node: Any, inside: str) -> str:
    props = node.to_plotly_json()["props"]
    written = {_NAMES.get(name, name): value for name, value in props.items() if name in _KEPT or _aria(name)}
    return _tag(tag, written, inside)


def _aria(name: str) -> bool:
    return name.startswith("aria-")


def _tag(tag: str, attributes: dict[str, Any], inside: str = "") -> str:
    words = "".join(
        f" {name}" if value is True else f' {name}="{escape(str(value))}"'
        for name, value in attributes.items()
        if value is not None and value is not False
    )
    return f"<{tag}{words}>" if tag in _VOID else f"<{tag}{words}>{inside}</{tag}>"


def _link(node: Any) -> str:
    return _element("a", node, markup(getattr(node, "children", None)))


def _graph(node: Any) -> str:
    return _tag("div", {"style": f"height:{escape(node.style['height'])}"})


def _label(node: Any, kind: str, inside: str) -> str:
    return _tag("label", {"class": kind, "title": getattr(node, "hint", None)}, inside)


def _pick(node: Any) -> str:
    shown = next((each["label"] for each in node.options if each["value"] == node.value), "")
    choice = _tag("select", {"disabled": True}, _tag("option", {}, escape(shown)))
    return _label(node, "control", f"<span>{escape(node.label)}</span>{choice}")


def _check(node: Any) -> str:
    box = _tag("input", {"type": "checkbox", "disabled": True, "checked": bool(node.checked)})
    return _label(node, "control check", f"{box}<span>{escape(node.label)}</span>")


def _range(node: Any) -> str:
    slider = _tag("input", {"type": "range", "disabled": True})
    return _label(node, "control range", f"<span>{escape(node.label)}</span>{slider}")


def _annotation(node: Any) -> str:
    note = _tag("textarea", {"rows": 3, "disabled": True, "aria-label": "Note"}, escape(node.note))
    return _tag("div", {"class": "annotation"}, note)


def _copy(node: Any) -> str:
    return _tag("div", {"class": "copy"}, f"<code>{escape(node.text)}</code>")


_CONTROLS: dict[str, Callable[[Any], str]] = {
    "Link": _link,
    "Graph": _graph,
    "Pick": _pick,
    "Check": _check,
    "Range": _range,
    "Annotation": _annotation,
    "Copy": _copy,
}
