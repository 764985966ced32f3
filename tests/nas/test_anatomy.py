"""A network taken apart: parts add up, every named model can be drawn, and the nearest of a model is itself."""

from __future__ import annotations

import json

import pytest

from nas.anatomy import differences, distance, drawing, nearest_model, part_costs, places
from nas.figures import architecture_figure
from space import Cost, build, cost
from space.named import model_names, named


@pytest.mark.parametrize("name", model_names())
def test_every_named_model_is_taken_apart(name: str) -> None:
    model = named(name)
    arch = model.arch.fitted(model.resolution)
    parts = part_costs(arch, model.resolution)
    assert sum(parts.values(), Cost()) == cost(arch, model.resolution)
    assert list(parts) == ["stem", *(f"stage {i + 1}" for i in range(len(arch.stages))), "head"]
    assert all(min(part) >= 0 for part in parts.values())
    drawn = drawing(arch, name, model.resolution)
    assert [(s.width, s.depth) for s in drawn.stages] == [(s.width, s.depth) for s in arch.stages]
    assert places(arch)


def test_parts_are_those_of_the_built_network() -> None:
    arch = named("convnext_atto").arch
    model, parts = build(arch), part_costs(arch, 224)
    head = sum(p.numel() for n, p in model.named_parameters() if n.startswith("head"))
    assert parts["head"].params == head


def test_a_figure_has_a_box_a_stage_and_escapes() -> None:
    arch = named("van_b0").arch
    drawn = drawing(arch, "x", 224)
    figure = json.loads(str(architecture_figure(drawn).to_json()))
    words = [note["text"] for note in figure["layout"]["annotations"]]
    assert [text for text in words if "ch<br>" in text] == [
        f"<b>{w}</b> ch<br>{s}\u00d7{s} px<br>{d} block{'s' if d > 1 else ''}"
        for w, s, d in zip((32, 64, 160, 256), (56, 28, 14, 7), (3, 3, 5, 2), strict=True)
    ]
    assert "token mixer: " in json.dumps(figure)


def test_the_nearest_model_and_the_difference() -> None:
    arch = named("convnext_tiny").arch
    name, found = nearest_model(arch)
    assert (distance(places(arch), places(named(name).arch)), found) == (0.0, [])
    wide = arch.model_copy(update={"stages": (arch.stages[0], arch.stages[1], arch.stages[2], arch.stages[3])})
    third = wide.stages[2].model_copy(update={"depth": 7})
    changed = wide.model_copy(update={"stages": (*wide.stages[:2], third, wide.stages[3])})
    (difference,) = differences(places(changed), places(arch))
    assert (difference.place, difference.here, difference.there) == ("stage 3 blocks", "7", "9")
    assert nearest_model(changed)[0].startswith("convnext")
