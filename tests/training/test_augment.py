"""Augmentation changes what it is told to and nothing else, and a seed repeats it."""

import random

import numpy as np
import pytest
import torch
from timm.data.random_erasing import RandomErasing

from nas.data.manifest import MEAN, STD
from nas.recipes.recipe import Recipe
from nas.training.augment import augment, erased, mixed, moved, normalised

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
    (first, share), (again, share_again) = (augment(pixels, STRONG, image_size=16, generator=generator(1)) for _ in range(2))
    other, _ = augment(pixels, STRONG, image_size=16, generator=generator(2))
    assert torch.equal(first, again)
    assert share == share_again
    assert not torch.equal(first, other)


def test_with_everything_off_images_are_only_normalised(pixels):
    plain = Recipe(image_size=16, crop_padding=0)
    images, share = augment(pixels, plain, image_size=16, generator=generator())
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


@pytest.mark.parametrize(("fill", "colours"), [("pixel", 32 * 32), ("rand", 1)])
def test_erasing_fills_with_noise_or_one_colour_and_leaves_the_rest(fill, colours):
    images = torch.full((300, 3, 32, 32), 9.0).contiguous(memory_format=torch.channels_last)
    changed = erased(images, probability=0.5, fill=fill, generator=generator())
    assert (images == 9).all() and changed.is_contiguous(memory_format=torch.channels_last)
    inside = changed[changed != 9]
    assert abs(inside.mean()) < 0.15 and abs(inside.std() - 1) < 0.15
    first = next(image for image in changed if (image != 9).any())
    assert len(first[0][first[0] != 9].unique()) == min(colours, int((first[0] != 9).sum()))
    assert len({float(values[0]) for values in (channel[channel != 9] for channel in first)}) == 3


def test_erased_areas_are_distributed_as_timms():
    images, levels = torch.ones(3000, 3, 32, 32), [0.1, 0.3, 0.5, 0.7, 0.9]
    random.seed(0)
    theirs = RandomErasing(probability=1.0, mode="const", device="cpu")(images.clone())
    ours = erased(images, probability=1.0, generator=generator())
    shares = [np.quantile((changed[:, 0] == 0).float().mean((1, 2)).numpy(), levels) for changed in (ours, theirs)]
    tall = [np.quantile((changed[:, 0] == 0).any(2).float().mean(1).numpy(), levels) for changed in (ours, theirs)]
    assert np.abs(np.subtract(*shares)).max() < 0.02 and np.abs(np.subtract(*tall)).max() < 0.04


def test_mixup_blends_the_batch_with_its_reverse():
    images = torch.arange(4.0).reshape(4, 1, 1, 1)
    blended, share = mixed(images, Recipe(mixup=1.0), generator=generator())
    assert 0 < share < 1
    assert torch.allclose(blended.flatten(), share * torch.tensor([0.0, 1, 2, 3]) + (1 - share) * torch.tensor([3.0, 2, 1, 0]))


def test_cutmix_covers_one_rectangle_and_says_what_is_left():
    images = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 3, 16, 16).contiguous()
    for seed in range(20):
        covered, share = mixed(images, Recipe(cutmix=1.0), generator=generator(seed))
        of_partner = covered[0, 0] == 3
        rows, columns = of_partner.any(1), of_partner.any(0)
        assert torch.equal(of_partner, rows[:, None] & columns[None, :])
        assert share == pytest.approx(1 - float(of_partner.float().mean()))
        assert torch.equal(covered[3, 0] == 0, of_partner)
    assert torch.equal(images[0], torch.zeros(3, 16, 16))  # the batch itself is left as it was


def test_with_both_about_half_of_the_batches_are_blended_and_half_covered():
    images = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 3, 16, 16).contiguous()
    batches = [mixed(images, Recipe(mixup=1.0, cutmix=1.0), generator=generator(seed)).images for seed in range(60)]
    blended = sum(len(batch[0].unique()) == 1 and float(batch[0, 0, 0, 0]) not in (0, 3) for batch in batches)
    assert 18 <= blended <= 42


def test_a_crop_of_the_whole_area_without_padding_is_the_image_or_narrower(pixels):
    whole = Recipe(image_size=16, crop_padding=0, crop_scale=[1, 1])
    images = augment(pixels, whole, image_size=16, generator=generator()).images
    assert images.shape == (32, 3, 16, 16)
    assert (images.amin() >= normalised(pixels).amin()) and (images.amax() <= normalised(pixels).amax())


def test_a_crop_shows_a_part_as_large_as_asked_for():
    ramp = torch.arange(64, dtype=torch.uint8).expand(64, 64)  # pixel values are columns
    pixels = torch.stack([ramp, ramp.T, ramp], dim=-1).expand(200, 64, 64, 3)  # red is the column, green the row
    recipe = Recipe(image_size=64, crop_padding=0, crop_scale=[0.25, 0.5])
    images = augment(pixels, recipe, image_size=64, generator=generator()).images
    images = images * torch.tensor(STD)[:, None, None] * 255 + torch.tensor(MEAN)[:, None, None] * 255
    wide = (images[:, 0, 0, -1] - images[:, 0, 0, 0] + 1) / 64
    tall = (images[:, 1, -1, 0] - images[:, 1, 0, 0] + 1) / 64
    assert (wide * tall).min() > 0.23 and (wide * tall).max() < 0.52
    assert (wide / tall).min() > 0.72 and (wide / tall).max() < 1.4
    assert images[:, 0].amin() > -0.5 and images[:, 0].amax() < 63.5


def test_a_crop_may_reach_out_of_the_image_by_the_padding():
    white = torch.full((300, 16, 16, 3), 255, dtype=torch.uint8)
    recipe = Recipe(image_size=16, crop_padding=4, crop_scale=[1, 1])
    images = augment(white, recipe, image_size=16, generator=generator()).images
    black = images[:, :1] < images[:, :1].amax() - 0.1
    outside = black.flatten(1).float().mean(1)
    assert outside.max() > 0.2
    assert outside.max() <= 1 - (12 / 16) ** 2 + 0.15


def test_a_mirrored_crop_runs_backwards_in_half_of_the_images():
    ramp = torch.arange(64, dtype=torch.uint8).expand(100, 64, 64)[..., None].expand(100, 64, 64, 3)
    images = augment(ramp, Recipe(image_size=64, flip=True, crop_scale=[0.5, 1]), image_size=64, generator=generator()).images
    backwards = int((images[:, 0, 32, 20] > images[:, 0, 32, 40]).sum())
    assert 35 <= backwards <= 65


@pytest.mark.parametrize("crop_scale", [None, [0.5, 1]])
def test_an_epoch_at_a_smaller_size_sees_smaller_images(pixels, crop_scale):
    recipe = Recipe(image_size=[8, 16], crop_scale=crop_scale)
    assert augment(pixels, recipe, image_size=8, generator=generator()).images.shape == (32, 3, 8, 8)
