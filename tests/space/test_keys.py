"""Tables of renames: places for numbers and words, and numbers that differ by a factor and a summand."""

from __future__ import annotations

import pytest

from space.keys import KeyFormat

PAIRS = KeyFormat(
    "authors",
    {
        "blocks.{2j}.mix.{leaf}": "blocks.{j}.token.{leaf}",
        "blocks.{2j+1}.mix.{leaf}": "blocks.{j}.channel.{leaf}",
        "between.{i}.{leaf}": "stages.{i+1}.down.{leaf}",
        "third.{3n+2}": "{n}",
    },
)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("blocks.0.mix.weight", "blocks.0.token.weight"),
        ("blocks.1.mix.weight", "blocks.0.channel.weight"),
        ("blocks.34.mix.bias", "blocks.17.token.bias"),
        ("blocks.35.mix.bias", "blocks.17.channel.bias"),
        ("between.0.weight", "stages.1.down.weight"),
        ("between.12.weight", "stages.13.down.weight"),
        ("third.11", "3"),
    ],
)
def test_numbers_read_and_write_by_factor_and_summand(theirs: str, ours: str) -> None:
    assert PAIRS.native(theirs) == ours
    assert PAIRS.publish(ours) == theirs


@pytest.mark.parametrize("key", ["blocks.01.mix.weight", "blocks.x.mix.weight", "third.1", "third.4", "between.-1.w"])
def test_other_numbers_fit_no_row(key: str) -> None:
    assert PAIRS.native(key) is None


def test_what_has_no_published_key_keeps_ours() -> None:
    assert PAIRS.publish("stages.0.down.weight") == "stages.0.down.weight"
