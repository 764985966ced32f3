"""Space files: what a mistake reads like."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from space import DesignSpace, SpaceError, read_architecture
from space.source import json_schema, presets

POINT = """
stem: {kind: patchify}
stages:
  - width: 16
    depth: 1
    pattern: [{token_mixer: MIXER}]
"""


def space(mixer: str, head: str = "") -> DesignSpace:
    return DesignSpace.from_yaml(head + POINT.replace("MIXER", mixer), "my.yaml")


MIXER = "my.yaml: stages[0].pattern[0].token_mixer"


@pytest.mark.parametrize(
    ("mixer", "message"),
    [
        ("{kind: atention}", f"{MIXER}: unknown kind 'atention': known: attention, .* did you mean 'attention'?"),
        ("{kind: pool, sise: 3}", f"{MIXER}.sise: unknown field: allowed: kind, size; did you mean 'size'?"),
        ("{kind: pool, size: {one_of: [3, 99]}}", rf"{MIXER}.size.one_of\[1\]: 99: .*less than or equal to"),
        ("{kind: depthwise_conv, kernel_size: 12}", f"{MIXER}.kernel_size: 12: must be odd.*nearest are 11 and 13"),
        ("{kind: depthwise_conv, kernel_size: {int_range: [3, 31]}}", f"{MIXER}.kernel_size: 4: must be odd"),
        ("{kind: depthwise_conv, kernel_size: {int_range: [31, 3], step: 2}}", "is empty; the lower end comes first"),
        ("{kind: depthwise_conv, kernel_size: {int_range: [3, 30], step: 2}}", "nearest end is 29"),
        ("{kind: depthwise_conv, kernel_size: seven}", f"{MIXER}.kernel_size: 'seven': should be a valid integer"),
        ("{size: 3}", f"{MIXER}: a mapping of size has no 'kind'"),
        ("{one_of: []}", f"{MIXER}.one_of: "),
        ("{one_of: [{kind: pool}], wieght: 1}", f"{MIXER}.wieght: unknown field: allowed: one_of"),
        ("{use: mixer}", "my.yaml: use: 'mixer' is not under let; known: none"),
        ("{kind: pool", r"my.yaml: line \d+, column \d+: not valid YAML"),
        ("{kind: pool, kind: identity}", r"my.yaml: line 6: key 'kind' stands twice"),
    ],
)
def test_a_mistake_is_named_by_file_place_and_remedy(mixer: str, message: str) -> None:
    with pytest.raises(SpaceError) as caught:
        space(mixer)
    text = str(caught.value)
    assert re.search(message.replace("[0]", r"\[0\]"), text), text
    assert "\n" not in text
    for word in ("tagged-union", "function-after", "fixed", "pydantic"):
        assert word not in text


def test_a_missing_field_is_named() -> None:
    with pytest.raises(SpaceError, match=r"my.yaml: stages\[0\].pattern\[0\].token_mixer: missing: "):
        DesignSpace.from_yaml("stem: {kind: patchify}\nstages: [{width: 16, depth: 1, pattern: [{}]}]", "my.yaml")


def test_an_unknown_top_level_key_is_named_with_the_nearest() -> None:
    with pytest.raises(SpaceError, match=r"my.yaml: stems: unknown field: allowed: stem, .*did you mean 'stem'"):
        space("{kind: pool}", "stems: {kind: patchify}\n")


@pytest.mark.parametrize(("text", "found"), [("", "nothing"), ("[1, 2]", "a list"), ("just words", "a str")])
def test_the_top_level_is_a_mapping(text: str, found: str) -> None:
    with pytest.raises(SpaceError, match=f"{found} at the top level, a mapping is needed"):
        DesignSpace.from_yaml(text, "my.yaml")


def test_definitions_must_be_used_and_must_not_use_themselves() -> None:
    with pytest.raises(SpaceError, match=r"let\.spare: never used"):
        space("{kind: pool}", "let: {spare: {kind: pool}}\n")
    with pytest.raises(SpaceError, match="uses itself"):
        space("{use: a}", "let: {a: {one_of: [{use: a}, {kind: pool}]}}\n")
    with pytest.raises(SpaceError, match="must be a whole number"):
        space("{use: a, times: 2}", "let: {a: {kind: pool}}\n")


def test_a_rule_across_fields_that_no_draw_can_meet_is_found_at_load() -> None:
    text = POINT.replace("MIXER", "{kind: pool}") + "    downsample: {kind: strided_conv}\n"
    with pytest.raises(SpaceError, match=r"stages\[0\].downsample: 'strided_conv', only 'none' is allowed"):
        DesignSpace.from_yaml(text, "my.yaml").sample(random.Random(0))


def test_files_and_presets(tmp_path: Path) -> None:
    assert {"metaformer", "tiny"} <= set(presets())
    assert DesignSpace.load("tiny").text == DesignSpace.load("tiny.yaml").text
    with pytest.raises(SpaceError, match="did you mean 'metaformer'"):
        DesignSpace.load("metaforner.yaml")
    file = tmp_path / "own.yaml"
    file.write_text(POINT.replace("MIXER", "{kind: pool}"))
    assert DesignSpace.load(file).name == "own.yaml"
    assert read_architecture(file).stages[0].width == 16
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpaceError, match="not UTF-8 text"):
        DesignSpace.load(tmp_path / "binary.yaml")


def test_the_json_schema_names_every_kind() -> None:
    text = str(json_schema())
    for kind in ("attention", "inception_depthwise", "grn_mlp", "patchify", "strided_conv", "mlp_head", "int_range"):
        assert kind in text


@pytest.mark.parametrize("name", presets())
def test_editors_accept_the_presets_and_mark_mistakes(name: str) -> None:
    schema = Draft202012Validator(json_schema())
    tree = yaml.safe_load(presets()[name].read_text())
    assert schema.is_valid(tree)
    assert not schema.is_valid(tree | {"proxi": {}})
    assert not schema.is_valid(tree | {"resolution": "large"})
    wrong = yaml.safe_load(POINT.replace("MIXER", "{kind: atention}"))
    assert not schema.is_valid(wrong)
    assert schema.is_valid(yaml.safe_load(POINT.replace("MIXER", "{one_of: [{kind: pool}, {kind: attention}]}")))


def test_merge_keys_take_over_what_a_mapping_does_not_say_itself() -> None:
    text = """
stem: {kind: patchify}
stages:
  - width: 16
    depth: 2
    pattern: [&block {wiring: metanext, token_mixer: {kind: pool}}, {<<: *block, token_mixer: {kind: identity}}]
"""
    first, second = DesignSpace.from_yaml(text).sample(random.Random(0)).stages[0].pattern
    assert (first.wiring, second.wiring) == ("metanext", "metanext")
    assert (first.token_mixer.kind, second.token_mixer.kind) == ("pool", "identity")
