"""Ids are for ever: a changed default would rename stored networks silently."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import space
from space import model_names, named

IDS = Path(__file__).parents[1] / "golden" / "ids.json"


def test_the_ids_of_named_models_never_change() -> None:
    assert {name: named(name).arch.id for name in model_names()} == json.loads(IDS.read_text())


def test_public_names_stay_what_they_are_once_all_modules_are_loaded() -> None:
    model_names()  # discovers the package space.models, which must not take the place of a function
    for name in space.__all__:
        assert not isinstance(getattr(space, name), ModuleType), name
