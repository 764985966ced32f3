"""Augmentations do what they say, and follow from their generator alone."""

from dataclasses import replace

import pytest
import torch

from trials.data import load_data
from trials.training.augment import augmented, erase, mirror, mix, random_crop, shift
from trials.training.rand_augment import OPERATORS, rand_augment
from trials.training.recipe import Recipe


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _images(count=64, channels=3, side=16):
    return torch.randint(1, 256, (count, channels, side, side), dtype=torch.uint8, generator=_generator(9))


def test_shift_moves_whole_images():
    images = _images(200, 1, 8)
    moved = shift(images, 2, _generator())
    assert moved.shape == images.shape
    offsets = set()
    for before, after in zip(images[:, 0], moved[:, 0], strict=True):
        rows, columns = (after.sum(1) > 0).nonzero().flatten(), (after.sum(0) > 0).nonzero().flatten()
        down = int(rows[0]) if int(rows[0]) else int(rows[-1]) - 7
        right = int(columns[0]) if int(columns[0]) else int(columns[-1]) - 7
        expected = torch.zeros_like(before)
        expected[max(down, 0) : 8 + min(down, 0), max(right, 0) : 8 + min(right, 0)] = before[
            max(-down, 0) : 8 - max(down, 0), max(-right, 0) : 8 - max(right, 0)
        ]
        assert torch.equal(after, expected)
        offsets.add((down, right))
    assert {d for d, _ in offsets} == {r for _, r in offsets} == {-2, -1, 0, 1, 2}


def test_mirror_flips_about_half_left_to_right():
    images = _images(400)
    flipped = mirror(images, _generator())
    same = (flipped == images).flatten(1).all(1)
    turned = (flipped == images.flip(-1)).flatten(1).all(1)
    assert (same ^ turned).all()
    assert 150 < int(same.sum()) < 250


def test_random_crop_keeps_the_colours_of_flat_images():
    images = torch.full((20, 3, 40, 40), 131, dtype=torch.uint8)
    cropped = random_crop(images, 32, _generator())
    assert cropped.shape == (20, 3, 32, 32)
    assert (cropped == 131).all()
    ramp = torch.arange(40, dtype=torch.uint8).repeat(20, 3, 40, 1)
    spans = random_crop(ramp, 32, _generator()).amax(3).int() - random_crop(ramp, 32, _generator()).amin(3).int()
    assert len(spans[:, 0, 0].unique()) > 5


def test_erase_blanks_rectangles_of_some_images():
    images = torch.ones(500, 2, 16, 16)
    blank = erase(images, 0.4, _generator()) == 0
    hit = blank.flatten(1).any(1)
    assert 150 < int(hit.sum()) < 250
    for mask in blank[hit]:
        assert torch.equal(mask[0], mask[1])
        assert int(mask[0].sum()) == int(mask[0].any(0).sum()) * int(mask[0].any(1).sum())
    assert blank[hit].float().mean() < 0.3


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_mixing_shares_pixels_as_it_shares_labels(kind):
    recipe = Recipe(name="x", **{kind: 1.0})
    labels = torch.arange(8)
    images = labels.float().view(-1, 1, 1, 1).expand(8, 1, 16, 16).contiguous()
    for seed in range(20):
        mixed, targets = mix(images.clone(), labels, recipe, _generator(seed))
        expected = targets.share * targets.labels + (1 - targets.share) * targets.mixed
        torch.testing.assert_close(mixed.mean((1, 2, 3)), expected.float(), rtol=1e-5, atol=1e-5)


def test_mixing_happens_as_often_as_asked():
    recipe = Recipe(name="x", mixup=1.0, cutmix=1.0, mix_probability=0.25)
    images, labels = torch.rand(4, 1, 4, 4), torch.arange(4)
    shares = [mix(images, labels, recipe, _generator(seed))[1].share for seed in range(200)]
    assert 30 < sum(share < 1 for share in shares) < 70
    never = mix(images, labels, Recipe(name="x"), _generator())
    assert never[0] is images
    assert never[1].share == 1


def test_mixed_targets_weigh_both_labels():
    logits, labels = torch.tensor([[2.0, 0.0]]), torch.tensor([0])
    _, targets = mix(torch.rand(1, 1, 2, 2), labels, Recipe(name="x"), _generator())
    both = replace(targets, mixed=torch.tensor([1]), share=0.25)
    first = torch.nn.functional.cross_entropy(logits, labels)
    second = torch.nn.functional.cross_entropy(logits, torch.tensor([1]))
    torch.testing.assert_close(both.loss(logits, 0.0), 0.25 * first + 0.75 * second)


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("strength", [-1.0, -0.4, 0.0, 0.9, 1.0])
def test_every_distortion_keeps_shape_and_type(name, strength):
    image = _images(1, 3, 24)[0]
    out = OPERATORS[name](image, strength)
    assert out.shape == image.shape
    assert out.dtype == torch.uint8


def test_rand_augment_distorts_most_images_and_repeats():
    images = _images(40, 3, 24)
    out = rand_augment(images, _generator())
    assert torch.equal(out, rand_augment(images, _generator()))
    changed = (out != images).flatten(1).any(1).float().mean()
    assert 0.5 < changed < 0.95


@pytest.mark.parametrize("level", ["none", "light", "strong"])
def test_a_batch_depends_on_the_generator_only(level):
    data = load_data("digits")
    recipe = Recipe(name="x", augment=level, erase=0.5, mixup=0.4, cutmix=1.0)
    images, labels = data.train.batch(torch.arange(16), margin=True), data.train.labels[:16]
    first, targets = augmented(images, labels, data, recipe, _generator(4))
    torch.manual_seed(123)
    again, _ = augmented(images, labels, data, recipe, _generator(4))
    other, _ = augmented(images, labels, data, recipe, _generator(5))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (16, 1, 32, 32)
    assert first.dtype == torch.float32
    assert torch.equal(targets.labels, labels)


def test_without_augmentation_images_are_only_normalised():
    data = load_data("digits")
    images, labels = data.train.batch(torch.arange(8)), data.train.labels[:8]
    out, _ = augmented(images, labels, data, Recipe(name="x", augment="none"), _generator())
    assert torch.equal(out, data.normalised(images))
