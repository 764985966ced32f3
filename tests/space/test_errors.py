"""The nearest word, and places written as a user would write them."""

from __future__ import annotations

import pytest

from space.errors import nearest, path_of


@pytest.mark.parametrize(
    ("word", "known", "expected"),
    [
        ("acc", ["accuracy", "macs"], "; did you mean 'accuracy'?"),
        ("atention", ["attention", "pool"], "; did you mean 'attention'?"),
        ("zzz", ["attention", "pool"], ""),
        ("", ["attention"], ""),
    ],
)
def test_the_nearest_word(word: str, known: list[str], expected: str) -> None:
    assert nearest(word, known) == expected


def test_paths_read_as_they_are_written() -> None:
    assert path_of(["stages", 2, "token_mixer", "kernel_size"]) == "stages[2].token_mixer.kernel_size"
