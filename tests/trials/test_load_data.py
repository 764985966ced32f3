"""What a word or path gives, and what is refused in one line."""

from pathlib import Path

import pytest
import torch

from space import NasError
from trials.data import DataError, load_data, source_words


def test_digits_are_the_gray_default():
    data = load_data("digits")
    assert (data.name, data.channels, data.resolution, data.mirror) == ("digits", 1, 32, False)
    assert data.classes == tuple("0123456789")
    images = data.train.batch(torch.tensor([5, 0, 5]))
    assert images.shape == (3, 1, 32, 32)
    assert images.dtype == torch.uint8
    assert torch.equal(images[0], images[2])


def test_normalised_training_images_have_mean_zero_and_deviation_one():
    data = load_data("digits")
    images = data.normalised(data.train.batch(torch.arange(len(data.train))))
    assert abs(images.mean().item()) < 1e-3
    assert abs(images.std().item() - 1) < 1e-3
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_a_resolution_resizes():
    assert load_data("digits", resolution=48).train.batch(torch.tensor([0])).shape == (1, 1, 48, 48)
    for bad in (0, 7, 5000):
        with pytest.raises(DataError, match=f"resolution: {bad}, allowed: 8 to 1024 pixels"):
            load_data("digits", resolution=bad)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("digit", "did you mean 'digits'"),
        ("cifar_10", "did you mean 'cifar10'"),
        ("Fashion-MNIST", "did you mean 'fashion-mnist'"),
        ("xyzzy", "neither a folder nor a known word, known words: "),
        ("./missing", "no such folder"),
        ("~/missing/folder", "no such folder"),
        ("hf:", "names no data set|needs the extra 'hf'"),
        (" ", "data: no word and no path"),
    ],
)
def test_unknown_words_are_refused_with_the_nearest(word, said, tmp_path):
    with pytest.raises(DataError, match=said) as caught:
        load_data(word, root=tmp_path)
    assert isinstance(caught.value, NasError)
    assert "\n" not in str(caught.value)


def test_a_file_and_an_empty_folder_are_refused(tmp_path):
    (tmp_path / "file.png").write_bytes(b"")
    with pytest.raises(DataError, match="is a file, allowed: a folder of class folders"):
        load_data(str(tmp_path / "file.png"))
    with pytest.raises(DataError, match="holds no folders of images and no IDX files"):
        load_data(str(tmp_path))


def test_a_download_that_fails_says_where_files_would_go(tmp_path, monkeypatch):
    def refuse(self):
        raise RuntimeError("no route to host")

    monkeypatch.setattr("torchvision.datasets.MNIST.download", refuse)
    with pytest.raises(DataError, match="mnist: could not be downloaded") as caught:
        load_data("mnist", root=tmp_path)
    assert f"(no route to host); put torchvision's files of MNIST into {tmp_path / 'mnist'}" in str(caught.value)
    assert not list(Path(tmp_path).iterdir())


def test_every_word_belongs_to_one_source():
    words = source_words()
    assert {"digits", "cifar10", "cifar100", "mnist", "fashion-mnist", "svhn"} <= set(words)
    assert len(words) == len(set(words))
