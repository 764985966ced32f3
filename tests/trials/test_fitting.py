"""Images of every mode, shape and depth become uint8 squares."""

import numpy
import pytest
import torch
from PIL import Image

from trials.data import DataError
from trials.data.fitting import fit_array, fit_picture, native_resolution


@pytest.mark.parametrize(
    ("side", "resolution"),
    [(8, 32), (28, 32), (32, 32), (47, 32), (48, 64), (64, 64), (96, 96), (224, 224), (900, 224)],
)
def test_native_resolution_is_a_multiple_of_32_up_to_224(side, resolution):
    assert native_resolution(side) == resolution


def test_images_of_that_size_keep_their_pixels():
    images = torch.randint(0, 256, (3, 1, 32, 32), dtype=torch.uint8)
    assert torch.equal(fit_array(images, 32), images)
    assert torch.equal(fit_picture(Image.fromarray(images[0, 0].numpy()), 32, 1), images[0])


@pytest.mark.parametrize("size", [(8, 8), (7, 15), (15, 7), (100, 60), (1, 1), (33, 32), (300, 2)])
def test_other_images_are_resized_and_cropped(size):
    images = torch.full((2, 3, *size), 77, dtype=torch.uint8)
    fitted = fit_array(images, 32)
    assert fitted.shape == (2, 3, 32, 32)
    assert fitted.dtype == torch.uint8
    assert (fitted == 77).all()


def test_the_centre_of_the_longer_side_is_kept():
    images = torch.zeros(1, 1, 10, 30, dtype=torch.uint8)
    images[..., 10:20] = 200
    assert (fit_array(images, 10) == 200).all()


@pytest.mark.parametrize(
    ("mode", "colour", "gray"),
    [
        ("1", 1, 255), ("L", 90, 90), ("LA", (90, 255), 90), ("RGB", (90, 90, 90), 90), ("RGBA", (90, 90, 90, 255), 90),
        ("RGBA", (0, 0, 0, 0), 255), ("LA", (0, 0), 255), ("CMYK", (0, 0, 0, 0), 255), ("I;16", 90 * 256 + 7, 90),
        ("I", 90 * 256, 90), ("P", 0, 0), ("YCbCr", (90, 128, 128), 90),
    ],
)  # fmt: skip
def test_every_mode_becomes_gray_or_colour(mode, colour, gray):
    picture = Image.new(mode, (20, 12), colour)
    for channels in (1, 3):
        fitted = fit_picture(picture, 16, channels)
        assert fitted.shape == (channels, 16, 16)
        assert (fitted.int() - gray).abs().max() <= 1


def test_transparency_of_palettes_is_laid_on_white(tmp_path):
    picture = Image.new("P", (8, 8), 0)
    picture.putpalette([10, 20, 30] * 256)
    picture.save(tmp_path / "p.png", transparency=0)
    with Image.open(tmp_path / "p.png") as read:
        assert (fit_picture(read, 8, 3) == 255).all()


def test_images_stand_upright(tmp_path):
    pixels = numpy.zeros((16, 16), numpy.uint8)
    pixels[:8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as read:
        fitted = fit_picture(read, 16, 1)[0]
    assert (fitted[:, 8:] == 255).all()
    assert (fitted[:, :8] == 0).all()


def test_floating_point_images_are_refused():
    with pytest.raises(DataError, match="floating-point pixels"):
        fit_picture(Image.new("F", (8, 8), 0.5), 8, 1)
