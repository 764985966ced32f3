"""Data sets through Hugging Face's `datasets`: a folder of pictures as it reads one, and what it cannot load."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trials.data import load_data
from trials.data.errors import DataError

CLASSES = ("ant", "bee", "cat")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Pictures whose class is where they are bright."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 20), ("test", 4)):
        for index, name in enumerate(CLASSES):
            folder = tmp_path / "pictures" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 80, (24, 24, 3), dtype=np.uint8)
                pixels[8 * index : 8 * index + 8] += 150
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "pictures"


def test_pictures_classes_and_parts_are_those_of_the_data_set(pictures: Path) -> None:
    data = load_data(f"hf:{pictures}", root=pictures.parent, resolution=24).unsealed()
    assert data.classes == CLASSES
    assert len(data.test) == 12
    assert len(data.train) + len(data.validation) == 60
    for split in (data.train, data.validation, data.test):
        assert set(split.labels.tolist()) <= {0, 1, 2}


def test_what_cannot_be_loaded_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="could not be loaded") as caught:
        load_data(f"hf:{tmp_path / 'nowhere'}", root=tmp_path)
    assert "\n" not in str(caught.value)
