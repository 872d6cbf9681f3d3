"""Augmentation changes what it is told to and nothing else, and a seed repeats it."""

import pytest
import torch

from nas.training.augment import augment, erased, mixed, moved, normalised
from nas.training.data import MEAN, STD
from nas.training.recipe import Recipe

STRONG = Recipe(image_size=16, crop_padding=3, flip=True, mixup=0.2, random_erasing=0.5)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def pixels():
    return torch.randint(1, 256, (32, 16, 16, 3), dtype=torch.uint8, generator=generator(7))


def test_normalised_images_have_imagenets_mean_and_deviation_taken_out(pixels):
    images = normalised(pixels)
    expected = (pixels[3, 5, 6] / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    assert torch.allclose(images[3, :, 5, 6], expected, atol=1e-6)


@pytest.mark.parametrize("channels_last", [True, False])
def test_the_memory_layout_is_the_one_asked_for(pixels, channels_last):
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert normalised(pixels, channels_last=channels_last).is_contiguous(memory_format=layout)


def test_the_same_seed_draws_the_same_batch_and_another_seed_another(pixels):
    (first, share), (again, share_again) = (augment(pixels, STRONG, generator=generator(1)) for _ in range(2))
    other, _ = augment(pixels, STRONG, generator=generator(2))
    assert torch.equal(first, again)
    assert share == share_again
    assert not torch.equal(first, other)


def test_with_everything_off_images_are_only_normalised(pixels):
    plain = Recipe(image_size=16, crop_padding=0)
    images, share = augment(pixels, plain, generator=generator())
    assert share == 1.0
    assert torch.equal(images, normalised(pixels))


def test_a_shift_moves_an_image_by_at_most_the_padding_and_fills_with_black(pixels):
    shifted = moved(pixels, padding=2, flip=False, generator=generator())
    padded = torch.nn.functional.pad(pixels, (0, 0, 2, 2, 2, 2))
    seen = set()
    for image, source in zip(shifted, padded, strict=True):
        places = [(r, c) for r in range(5) for c in range(5) if torch.equal(image, source[r : r + 16, c : c + 16])]
        assert len(places) == 1
        seen.add(places[0])
    assert len(seen) > 10


def test_a_flip_mirrors_about_half_of_the_images_and_leaves_the_rest(pixels):
    flipped = moved(pixels, padding=0, flip=True, generator=generator())
    mirrored = [torch.equal(a, b.flip(1)) for a, b in zip(flipped, pixels, strict=True)]
    kept = [torch.equal(a, b) for a, b in zip(flipped, pixels, strict=True)]
    assert all(m != k for m, k in zip(mirrored, kept, strict=True))
    assert 8 <= sum(mirrored) <= 24


def test_erasing_blanks_one_rectangle_of_a_sensible_size_in_the_given_share():
    images = torch.ones(400, 3, 32, 32)
    blank = erased(images, probability=0.25, generator=generator()) == 0
    touched = blank[:, 0].flatten(1).any(1)
    assert 0.18 <= touched.float().mean() <= 0.32
    for area in blank[touched][:, 0]:
        rows, columns = area.any(1), area.any(0)
        assert torch.equal(area, rows[:, None] & columns[None, :])
        assert area.float().mean() <= 0.4
        assert (rows.float().diff().abs().sum() <= 2) and (columns.float().diff().abs().sum() <= 2)


def test_mixup_blends_the_batch_with_its_reverse():
    images = torch.arange(4.0).reshape(4, 1, 1, 1)
    blended, share = mixed(images, alpha=1.0, generator=generator())
    assert 0 < share < 1
    assert torch.allclose(blended.flatten(), share * torch.tensor([0.0, 1, 2, 3]) + (1 - share) * torch.tensor([3.0, 2, 1, 0]))
