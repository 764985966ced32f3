"""What the package offers, whatever of it was imported before."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import pytest

import space


def test_every_offered_name_is_there_and_none_is_a_file() -> None:
    for name in space.__all__:
        assert not isinstance(getattr(space, name), ModuleType), name
    with pytest.raises(AttributeError, match="no_such_thing"):
        space.no_such_thing  # noqa: B018 -- the access is the test


@pytest.mark.parametrize("name", ["build", "cost", "describe", "named"])
def test_importing_a_file_does_not_hide_the_function_of_its_name(name: str) -> None:
    function = getattr(space, name)
    module = sys.modules.pop(f"space.{name}")
    try:
        importlib.import_module(f"space.{name}")
        assert getattr(space, name) is function
    finally:
        sys.modules[f"space.{name}"] = module


def test_other_files_are_reached_as_attributes() -> None:
    importlib.import_module("space.errors")
    assert space.errors.NasError is space.NasError
