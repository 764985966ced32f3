"""Folders of class folders: parts, modes, odd sizes, lazy decoding, and everything that is refused."""

from concurrent.futures import ThreadPoolExecutor

import numpy
import pytest
import torch
from PIL import Image

from trials.data import DataError, load_data


def _image(path, seed=0, *, size=(20, 24), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = numpy.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=numpy.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


def _classes(folder, *, names=("cat", "dog"), count=5, **words):
    for label, name in enumerate(names):
        for index in range(count):
            _image(folder / name / f"{index}.png", 100 * label + index, **words)
    return str(folder)


def test_parts_are_carved_from_plain_class_folders(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "notes.txt").write_text("passed over")
    (tmp_path / ".hidden").mkdir()
    data = load_data(_classes(tmp_path)).unsealed()
    assert (data.classes, data.channels, data.resolution, data.mirror) == (("cat", "dog"), 3, 32, True)
    assert (len(data.train), len(data.validation), len(data.test)) == (6, 2, 2)
    assert data.train.labels.bincount().tolist() == [3, 3]
    assert data.train.batch(torch.arange(6)).shape == (6, 3, 32, 32)


def test_parts_set_apart_are_kept(tmp_path):
    for part, count in (("train", 4), ("val", 2), ("test", 3)):
        _classes(tmp_path / part, count=count)
    data = load_data(str(tmp_path)).unsealed()
    assert (len(data.train), len(data.validation), len(data.test)) == (8, 4, 6)


def test_gray_folders_stay_gray_and_mixed_ones_become_colour(tmp_path):
    assert load_data(_classes(tmp_path / "gray", mode="L")).channels == 1
    _classes(tmp_path / "mixed", mode="L")
    _image(tmp_path / "mixed" / "dog" / "colour.png")
    assert load_data(str(tmp_path / "mixed")).channels == 3


def test_names_of_one_character_are_not_mirrored(tmp_path):
    assert not load_data(_classes(tmp_path, names=("3", "8"))).mirror


def test_odd_sizes_are_brought_to_one(tmp_path):
    folder = _classes(tmp_path)
    for index, size in enumerate([(1, 1), (3, 200), (300, 40), (33, 31)]):
        _image(tmp_path / "cat" / f"odd{index}.jpg", size=size)
    data = load_data(folder)
    assert data.train.batch(torch.arange(len(data.train))).shape[1:] == (3, 32, 32)


def test_large_images_keep_a_margin_for_crops(tmp_path):
    data = load_data(_classes(tmp_path, size=(140, 120)))
    assert data.resolution == 128
    indices = torch.tensor([1, 0])
    wide, narrow = data.train.batch(indices, margin=True), data.train.batch(indices)
    assert (wide.shape, narrow.shape) == ((2, 3, 146, 146), (2, 3, 128, 128))
    assert torch.equal(wide[..., 9:137, 9:137], narrow)


def test_large_folders_are_decoded_when_taken_and_give_the_same_images(tmp_path, monkeypatch):
    folder = _classes(tmp_path)
    eager = load_data(folder)
    monkeypatch.setattr("trials.data.pictures.MEMORY_BYTES", 0)
    load_data("digits")
    load_data("digits", seed=1)  # the cache holds two
    lazy = load_data(folder)
    assert lazy.train.lazy
    assert not eager.train.lazy
    indices = torch.tensor([4, 2, 2])
    with ThreadPoolExecutor(2) as pool:
        assert torch.equal(lazy.train.batch(indices, pool=pool), eager.train.batch(indices))
    (tmp_path / "cat" / "0.png").write_bytes(b"gone bad")
    with pytest.raises(DataError, match=r"cat/0.png"):
        for part in (lazy.train, lazy.validation, lazy.unsealed().test):
            part.batch(torch.arange(len(part)))


def test_the_fingerprint_follows_content_and_names(tmp_path):
    first = load_data(_classes(tmp_path / "a")).fingerprint
    assert load_data(_classes(tmp_path / "b")).fingerprint == first
    _classes(tmp_path / "c")
    _image(tmp_path / "c" / "cat" / "0.png", seed=99)
    assert load_data(str(tmp_path / "c")).fingerprint != first


def _empty_class(folder):
    (folder / "empty").mkdir()


def _two_images(folder):
    for index in range(3):
        (folder / "dog" / f"{index}.png").unlink()


def _not_an_image(folder):
    (folder / "cat" / "1.png").write_bytes(b"not an image")
    (folder / "dog" / "2.jpg").write_bytes(b"")


def _cut_short(folder):
    whole = (folder / "dog" / "3.png").read_bytes()
    (folder / "dog" / "3.png").write_bytes(whole[: len(whole) // 2])


def _one_class(folder):
    for path in sorted((folder / "dog").iterdir()):
        path.unlink()
    (folder / "dog").rmdir()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_empty_class, "class 'empty' holds no images, at least one bmp, "),
        (_two_images, "class 'dog' has 2 training images, at least 3 are needed"),
        (_not_an_image, r"2 of 11 images cannot be read, the first is '.*cat/1.png' \(cannot identify"),
        (_cut_short, r"1 of 10 images cannot be read, the first is '.*dog/3.png'"),
        (_one_class, "1 class, at least 2 are needed"),
    ],
)
def test_bad_folders_are_refused_in_one_line(tmp_path, spoil, said):
    folder = _classes(tmp_path)
    spoil(tmp_path)
    with pytest.raises(DataError, match=said) as caught:
        load_data(folder)
    assert "\n" not in str(caught.value)


def test_parts_must_agree_on_their_classes(tmp_path):
    _classes(tmp_path / "train", count=3)
    _classes(tmp_path / "test", names=("cat", "dog", "yak"), count=3)
    with pytest.raises(DataError, match="test/yak: is a class that the training images lack, theirs are cat, dog"):
        load_data(str(tmp_path))
    (tmp_path / "other").mkdir()
    with pytest.raises(DataError, match="'other' stands beside 'train'"):
        load_data(str(tmp_path))


def test_unreadable_folders_are_refused(tmp_path, monkeypatch):
    folder = _classes(tmp_path)

    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.iterdir", refuse)
    with pytest.raises(DataError, match="this user may not read it"):
        load_data(folder)
