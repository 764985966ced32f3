"""Ids are for ever: a changed default would rename stored networks silently."""

from __future__ import annotations

import json
from pathlib import Path

from space import models, named

IDS = Path(__file__).parents[1] / "golden" / "ids.json"


def test_the_ids_of_named_models_never_change() -> None:
    assert {name: named(name).arch.id for name in models()} == json.loads(IDS.read_text())
