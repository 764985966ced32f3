"""Elements of our own, drawn by `assets/nas.js`: the page, and controls that change the address and nothing else.

A page follows from its address, so a control needs no callback: it sets a field of the query, and the page is drawn
anew. They are what Dash calls components: a namespace of React elements, and a Python class that names the properties.
"""

from __future__ import annotations

from typing import Any

from dash.development.base_component import Component


class _Control(Component):
    """Root of the controls; properties are the arguments that are given."""

    _base_nodes = ("children",)
    _namespace = "nas_dashboard"

    def __init__(self, **props: Any) -> None:
        self._prop_names = sorted(props)
        self._valid_wildcard_attributes: list[str] = []
        self.available_properties = sorted(props)
        self.available_wildcard_properties: list[str] = []
        super().__init__(**props)


class Pick(_Control):
    """One of several: label, field, options [{value, label}], value, default."""

    _type = "Pick"


class Check(_Control):
    """A box to tick: label, field, value (what the field then holds), checked, several (the field may repeat)."""

    _type = "Check"


class Range(_Control):
    """A slider that sets a limit: label, field, low, high, log, value (None: no limit), unit, end (low or high)."""

    _type = "Range"


class Annotation(_Control):
    """Note, tags and hiding of a trial: study, number, note, tags, hidden, error; writes `wish` when saved."""

    _type = "Annotation"


class Copy(_Control):
    """A command with a button that copies it: text."""

    _type = "Copy"


class PageHost(_Control):
    """The page: tree (elements of Dash, drawn as they are), title, place; takes `wish` from a note inside it."""

    _type = "Page"
