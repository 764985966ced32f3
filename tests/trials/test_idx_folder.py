"""Folders of IDX files: plain and gzipped, with and without a test part, whole and broken."""

import gzip
import struct
from pathlib import Path

import numpy
import pytest
import torch

from trials.data import DataError, load_data

DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def _idx(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def _write(folder, prefix, count, *, zipped=False, colour=False, classes=3):
    rng = numpy.random.default_rng(count)
    images = rng.integers(0, 256, (count, 32, 32, 3) if colour else (count, 32, 32), dtype=numpy.uint8)
    labels = (numpy.arange(count) % classes).astype(numpy.uint8)
    for name, array in ((f"{prefix}-images-idx3-ubyte", images), (f"{prefix}-labels-idx1-ubyte", labels)):
        content = _idx(array)
        (folder / (name + ".gz" * zipped)).write_bytes(gzip.compress(content) if zipped else content)
    return images, labels


@pytest.mark.parametrize("zipped", [False, True])
def test_a_test_part_stays_the_test_part(tmp_path, zipped):
    images, labels = _write(tmp_path, "train", 30, zipped=zipped)
    test_images, test_labels = _write(tmp_path, "t10k", 9, zipped=zipped)
    data = load_data(str(tmp_path)).unsealed()
    assert (len(data.train), len(data.validation), len(data.test)) == (24, 6, 9)
    assert (data.channels, data.resolution, data.classes, data.mirror) == (1, 32, ("0", "1", "2"), False)
    assert data.test.labels.tolist() == test_labels.tolist()
    assert numpy.array_equal(data.test.batch(torch.arange(9))[:, 0].numpy(), test_images)
    position = int(data.validation.positions[0])
    assert numpy.array_equal(data.validation.batch(torch.tensor([0]))[0, 0].numpy(), images[position])
    assert data.validation.labels[0] == labels[position]


def test_without_a_test_part_one_is_carved(tmp_path):
    _write(tmp_path, "train", 60, colour=True)
    data = load_data(str(tmp_path)).unsealed()
    assert (len(data.train), len(data.validation), len(data.test), data.channels) == (39, 9, 12, 3)


def test_the_fingerprint_follows_the_content(tmp_path):
    prints = []
    for name, count in (("a", 30), ("b", 30), ("c", 33)):
        (tmp_path / name).mkdir()
        _write(tmp_path / name, "train", count)
        prints.append(load_data(str(tmp_path / name)).fingerprint)
    assert prints[0] == prints[1] != prints[2]


def test_relative_and_home_paths_lead_to_the_same(tmp_path, monkeypatch):
    (tmp_path / "set").mkdir()
    _write(tmp_path / "set", "train", 30)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    prints = {load_data(spec).fingerprint for spec in ("set", "./set", "~/set", str(tmp_path / "set"))}
    assert len(prints) == 1


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda content: content[:-5], "is cut short or too long, 30731 bytes cannot hold shape"),
        (lambda content: content + b"x", "is cut short or too long"),
        (lambda content: content[:6], "is cut short or too long"),
        (lambda content: b"\0\0\x0d" + content[3:], "is no IDX file of unsigned bytes"),
        (lambda content: b"", "is no IDX file of unsigned bytes"),
    ],
)
def test_broken_files_are_refused_by_name(tmp_path, spoil, said):
    _write(tmp_path, "train", 30)
    images = tmp_path / "train-images-idx3-ubyte"
    images.write_bytes(spoil(images.read_bytes()))
    with pytest.raises(DataError, match=said) as caught:
        load_data(str(tmp_path))
    assert str(images) in str(caught.value)


def test_damaged_gzip_missing_and_unequal_labels_are_refused(tmp_path):
    _write(tmp_path, "train", 30, zipped=True)
    labels = tmp_path / "train-labels-idx1-ubyte.gz"
    whole = labels.read_bytes()
    labels.write_bytes(whole[:-9])
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte\.gz: cannot be read"):
        load_data(str(tmp_path))
    labels.write_bytes(gzip.compress(_idx(numpy.zeros(29, numpy.uint8))))
    with pytest.raises(DataError, match=r"has shape \(29,\), but train-images-idx3-ubyte\.gz holds 30 images"):
        load_data(str(tmp_path))
    labels.unlink()
    with pytest.raises(DataError, match="has training images but no training labels"):
        load_data(str(tmp_path))


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_fashion_mnist_is_recognised_by_its_labels():
    data = load_data(str(DEBIAN)).unsealed()
    assert (data.name, data.mirror, data.classes[0]) == ("fashion-mnist", True, "T-shirt/top")
    assert (len(data.train), len(data.validation), len(data.test)) == (54_000, 6_000, 10_000)
