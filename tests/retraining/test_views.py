"""What is drawn for a training's images: timm's crops and operations, by the seed and an image's number alone."""

import io
import random
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform
from timm.data.auto_augment import rand_augment_transform

from nas.data.decoding import AS_STORED, Rendering
from nas.errors import ConfigError
from nas.recipes.full import Loader
from nas.retraining.operations import NOTHING, OPERATIONS
from nas.retraining.views import Views, decoded_pixels, draw_by, policy_of
from tests.images import photo

NAMES = list(OPERATIONS)
PLAIN = Loader(auto_augment=None, color_jitter=None)
DRAWS = 1500


def views(loader=PLAIN, **changes):
    return Views(loader, **{"size": 32, "rendering": AS_STORED, **changes})


def places():
    """An image of 120 x 90 whose red is the column and whose green is the row."""
    red, green = np.meshgrid(np.arange(120), np.arange(90))
    return Image.fromarray(np.stack([red, green, 0 * red], axis=-1).astype(np.uint8))


def parts(seen):
    """Area and ratio of the parts that were seen, in logarithms, by the colours at their borders; `(N, 3, S, S)`."""
    inner = (seen.shape[-1] - 1) / seen.shape[-1]  # from the first pixel's middle to the last one's
    wide = (seen[:, 0, :, -1].mean(1) - seen[:, 0, :, 0].mean(1)).abs() / inner
    tall = (seen[:, 1, -1].mean(1) - seen[:, 1, 0].mean(1)) / inner
    return (wide * tall / (120 * 90)).numpy(), (wide / tall).log().numpy()


@pytest.mark.parametrize("area", [None, (0.5, 1.0)])
def test_crops_are_distributed_as_timms(area):
    draw_by(0)
    ours = views(area=area)
    theirs = create_transform(32, is_training=True, scale=area, hflip=0, color_jitter=None, use_prefetcher=True)
    image = places()
    own = parts(torch.stack([ours(image).pixels for _ in range(DRAWS)]).float())
    timms = parts(torch.stack([torch.as_tensor(theirs(image)) for _ in range(DRAWS)]).float())
    levels = np.linspace(0.05, 0.95, 10)
    for (mine, other), tolerance in zip(zip(own, timms, strict=True), (0.05, 0.06), strict=True):
        assert np.abs(np.quantile(mine, levels) - np.quantile(other, levels)).max() < tolerance


def test_the_part_and_its_scaling_are_timms_to_the_pixel():
    image, loader = photo(200, 150), PLAIN.model_copy(update={"interpolation": "bilinear"})
    theirs = create_transform(32, is_training=True, hflip=0, color_jitter=None, interpolation="bilinear", use_prefetcher=True)
    ours = views(loader)
    for number in range(20):
        draw_by(1, number)
        by_timm = theirs(image).int()
        draw_by(1, number)
        assert (ours(image).pixels.int() - by_timm).abs().max() <= 1


def test_half_of_the_images_are_mirrored_where_the_recipe_says_so():
    draw_by(0)
    image = photo(40)
    assert 160 < sum(views(flip=True)(image).mirrored for _ in range(400)) < 240
    assert not any(views()(image).mirrored for _ in range(50))


def test_operations_and_arguments_are_those_that_timm_draws():
    """The same draws with an image in the place of the list end in the same functions with the same arguments."""
    text = "rand-m9-mstd0.5-inc1"
    ours, theirs = policy_of(Loader(auto_augment=text), 224), rand_augment_transform(text, {})
    calls = []
    for operation in theirs.ops:
        name, moves = operation.aug_fn.__name__, operation.name.startswith(("Rotate", "Shear", "Translate"))

        def noted(image, *arguments, name=name, moves=moves, resample, **_):
            mode = f" {random.choice(resample).name.lower()}" if moves else ""
            calls.append((name + mode, *(arguments or (0.0,))))
            return image

        operation.aug_fn = noted
    for number in range(300):
        draw_by(number)
        theirs(None)
        draw_by(number)
        assert [(NAMES[int(which)], argument) for which, argument in ours([])] == calls
        calls.clear()


def test_operations_are_as_frequent_as_in_timm_and_one_may_be_left_out():
    draw_by(0)
    steps = torch.cat([views(Loader())(photo(40)).steps for _ in range(1000)])
    assert steps.shape == (2000, 2)
    counts = Counter("nothing" if which == NOTHING else NAMES[int(which)].split(" ")[0] for which in steps[:, 0].tolist())
    assert 0.45 < counts.pop("nothing") / 2000 < 0.55
    assert len(counts) == 15 and all(40 < number < 100 for number in counts.values())


def test_colours_are_jittered_where_no_policy_draws_them():
    draw_by(0)
    steps = [views(Loader(auto_augment=None, color_jitter=0.4))(photo(40)).steps for _ in range(200)]
    orders = Counter(tuple(NAMES[int(which)] for which in each[:, 0].tolist()) for each in steps)
    factors = torch.stack(steps)[:, :, 1]
    assert len(orders) == 6 and all(sorted(order) == ["brightness", "color", "contrast"] for order in orders)
    assert factors.min() >= 0.6 and factors.max() <= 1.4 and abs(factors.mean() - 1) < 0.05
    assert views(Loader(color_jitter=0.4))(photo(40)).steps.shape == (2, 2)
    assert views(Loader(auto_augment="3a"))(photo(40)).steps.shape == (4, 2)


@pytest.mark.parametrize("text", ["foo", "rand-x3", "augmix-m3-w3", "v7", "rand-m9-n"])
def test_a_text_that_is_no_policy_is_refused(text):
    if text == "rand-m9-n":  # timm passes over a letter without a number
        assert policy_of(Loader(auto_augment=text), 32) is not None
        return
    with pytest.raises(ConfigError, match=rf"loader.auto_augment: must be a text that timm reads.*but got '{text}'"):
        policy_of(Loader(auto_augment=text), 32)


@pytest.mark.parametrize("text", ["original", "originalr", "v0", "v0r", "3a", "rand-m9-t3aw-n3", "rand-m5-tweights-mstd101"])
def test_every_policy_of_timms_is_drawn(text):
    policy = policy_of(Loader(auto_augment=text), 32)
    for number in range(100):
        draw_by(number)
        assert all(0 <= which < len(NAMES) for which, _ in policy([]))


@pytest.mark.parametrize("text", ["rand-m7-mstd0.5-inc1", "original", "3a"])
def test_views_of_any_operations_make_one_batch(text):
    """Posterize has a whole number for its argument, others a fraction: decoding processes send neither as another type."""
    draw_by(0)
    seen = [views(Loader(auto_augment=text))(photo(60, 50)) for _ in range(40)]
    assert {view.steps.dtype for view in seen} == {torch.float32}
    assert len({view.steps.shape for view in seen}) == 1


def stored(image, kind="jpeg", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def opened(content):
    return Image.open(io.BytesIO(content))


@pytest.mark.parametrize(
    "content",
    [
        stored(photo(75, 50), quality=90),
        stored(photo(75, 50), quality=90, subsampling=0),
        stored(photo(75, 50), quality=60, progressive=True),
        stored(photo(75, 50).convert("L")),
        stored(photo(75, 50).convert("CMYK")),
        stored(photo(75, 50), "png"),
        stored(photo(75, 50).convert("P"), "gif"),
    ],
    ids=["usual", "colours in full", "progressive", "grey", "four colours", "png", "gif"],
)
def test_pixels_are_those_that_pillow_reads(content):
    ours, pillows = decoded_pixels(opened(content), AS_STORED), np.array(opened(content).convert("RGB"))
    assert ours.shape == (3, 50, 75) and np.array_equal(ours.permute(1, 2, 0).numpy(), pillows)


def test_without_torchvisions_decoder_pixels_are_the_same(monkeypatch):
    content = stored(photo(75, 50))
    fast = decoded_pixels(opened(content), AS_STORED)
    monkeypatch.setattr("nas.retraining.views._jpeg_decoder", lambda: None)
    assert torch.equal(decoded_pixels(opened(content), AS_STORED), fast)


def test_a_cut_file_and_one_too_large_are_refused():
    content = stored(photo(300, 200), quality=95)
    with pytest.raises(OSError, match="truncated"):
        decoded_pixels(opened(content[: len(content) // 2]), AS_STORED)
    with pytest.raises(ValueError, match="it has 60,000 pixels, and max_pixels is 1,000"):
        decoded_pixels(opened(content), Rendering(max_pixels=1000))


def test_white_is_followed():
    grey = Image.new("RGB", (20, 20), (50, 50, 50))
    assert int(decoded_pixels(opened(stored(grey)), Rendering(white=100)).max()) == 128
