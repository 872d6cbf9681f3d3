"""Every kind of image is decoded alike, on one core or on all, in order."""

import io
import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from timm.data import create_transform

from nas.data import decoding
from nas.data.class_folders import read_file
from nas.data.decoding import Rendering, as_rgb, decode, decoded
from nas.data.source import image_in
from nas.errors import NasError

GREY = Image.fromarray(np.full((9, 14), 100, dtype=np.uint8))
DEEP = Image.fromarray(np.full((9, 14), 100 * 257, dtype=np.uint16))
MOVING = {"save_all": True, "append_images": [Image.new("L", (14, 9), 7)]}
SEEN_THROUGH = {"transparency": bytes(range(256))}
KINDS = {
    "grey": (GREY, "JPEG", {}),
    "CMYK": (GREY.convert("CMYK"), "JPEG", {}),
    "16-bit PNG": (DEEP, "PNG", {}),
    "16-bit TIFF": (DEEP, "TIFF", {}),
    "16-bit TIFF, high byte first": (Image.frombytes("I;16B", (14, 9), bytes([100, 100] * 9 * 14)), "TIFF", {}),
    "palette": (GREY.convert("P"), "PNG", {}),
    "palette with transparency": (GREY.convert("P"), "PNG", SEEN_THROUGH),
    "alpha": (GREY.convert("LA"), "PNG", {}),
    "animated GIF": (GREY.convert("P"), "GIF", MOVING),
    "animated WebP": (GREY, "WEBP", MOVING),
    "1x1": (GREY.crop((0, 0, 1, 1)), "PNG", {}),
    "2000x1": (GREY.resize((2000, 1)), "JPEG", {}),
}
MODES = ["1", "L", "P", "PA", "LA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB", "I", "I;16", "I;16B"]


def stored(image, kind="PNG", **options):
    """The image as the bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def only(content, *, size=8, **rendering):
    """What becomes of one file's bytes."""
    (image,) = decoded([""], lambda _: image_in(content), size=size, rendering=Rendering(**rendering))
    return image


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("error")
def test_every_kind_of_image_becomes_eight_bit_rgb_of_the_same_grey(kind):
    image, suffix, options = KINDS[kind]
    pixels = decode(Image.open(io.BytesIO(stored(image, suffix, **options))), 8)
    assert (pixels.shape, pixels.dtype) == ((8, 8, 3), np.uint8)
    assert np.abs(pixels.astype(int) - 100).max() <= 2


@pytest.mark.thorough
@given(
    mode=st.sampled_from(MODES),
    width=st.integers(1, 40) | st.just(2000),
    height=st.integers(1, 40) | st.just(2000),
    size=st.integers(1, 40),
)
def test_an_image_of_any_mode_and_shape_becomes_a_square_of_the_size_asked_for(mode, width, height, size):
    pixels = decode(Image.new(mode, (width, height)), size)
    assert (pixels.shape, pixels.dtype) == ((size, size, 3), np.uint8)


@pytest.mark.parametrize("image", [Image.new("F", (5, 5), 0.5), Image.new("I", (5, 5), 65536), Image.new("I", (5, 5), -1)])
def test_pixels_of_unknown_range_are_named_instead_of_clipped(image):
    found = only(stored(image, "TIFF"))
    assert found.pixels is None
    assert "nothing says which of its 32-bit values is white" in found.reason


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_named(value):
    image = Image.fromarray(np.array([[0.5, value]], np.float32))
    with pytest.raises(ValueError, match="no finite numbers"):
        as_rgb(image, Rendering(white=1))


def test_a_rotation_that_exif_asks_for_is_not_applied_as_in_timm():
    image = Image.new("RGB", (8, 8))
    image.paste((255, 255, 255), (0, 0, 8, 4))  # the upper half is white
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it by 90 degrees
    pixels = decode(Image.open(io.BytesIO(stored(image, exif=exif))), 8)
    assert (pixels == np.asarray(image)).all()


@pytest.mark.parametrize("content", [b"", b"no picture"])
def test_a_file_without_an_image_is_named_in_the_same_words_each_time(content):
    assert only(content).reason == f"no kind of image that Pillow knows begins its {len(content)} bytes"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF"])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_an_image_that_is_cut_short_gives_a_reason_or_its_pixels_but_never_an_error(kind):
    content = stored(Image.effect_noise((40, 30), 50), kind)
    found = [only(content[:end]) for end in range(0, len(content), max(1, len(content) // 60))]
    assert all(bool(image.reason) == (image.pixels is None) for image in found)
    assert found[len(found) // 2].reason


def test_an_image_that_would_fill_the_memory_is_named():
    number = GREY.width * GREY.height
    assert f"{number:,} pixels, and max_pixels is {number - 1:,}" in only(stored(GREY), max_pixels=number - 1).reason
    assert only(stored(GREY), max_pixels=number).pixels


@pytest.mark.filterwarnings("error")
def test_no_size_is_warned_of_by_pillow_itself():
    assert only(stored(Image.new("1", (10_000, 10_000)))).pixels


@given(width=st.integers(5, 90), height=st.integers(5, 90), size=st.integers(3, 60), seed=st.integers(0, 9))
@settings(max_examples=60)
def test_pixels_are_to_the_bit_what_timms_own_transform_makes(width, height, size, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    theirs = create_transform(size, interpolation="bilinear", crop_pct=1.0, mean=(0, 0, 0), std=(1, 1, 1))
    wanted = (theirs(Image.fromarray(pixels)).numpy() * 255).round().astype(np.uint8).transpose(1, 2, 0)
    assert (decode(Image.fromarray(pixels), size) == wanted).all()


def test_a_large_jpeg_is_decoded_as_timm_decodes_it():
    noise = Image.effect_noise((400, 300), 80).convert("RGB")
    content = stored(noise, "JPEG", quality=60)
    theirs = create_transform(16, interpolation="bilinear", crop_pct=1.0, mean=(0, 0, 0), std=(1, 1, 1))
    wanted = (theirs(Image.open(io.BytesIO(content)).convert("RGB")).numpy() * 255).round().transpose(1, 2, 0)
    assert (decode(Image.open(io.BytesIO(content)), 16) == wanted).all()


# White that a user states


@pytest.mark.parametrize(
    ("values", "mode", "white", "wanted"),
    [
        (np.array([[0, 4095]], np.uint16), "I;16", 4095, [0, 255]),
        (np.array([[0, 65535]], np.uint16), "I;16", None, [0, 255]),
        (np.array([[0, 2**20]], np.int32), "I", 2**20, [0, 255]),
        (np.array([[0, 2**21]], np.int32), "I", 2**20, [0, 255]),
        (np.array([[0.0, 2.0]], np.float32), "F", 2, [0, 255]),
        (np.array([[0, 16]], np.uint8), "L", 16, [0, 255]),
        (np.array([[0, 255]], np.uint8), "L", 4095, [0, 255]),
    ],
)
def test_white_is_what_the_recipe_says_and_what_lies_above_is_white(values, mode, white, wanted):
    image = Image.fromarray(values)
    assert image.mode == mode
    assert [pixel[0] for pixel in np.asarray(as_rgb(image, Rendering(white=white)))[0]] == wanted


def test_a_picture_that_stands_in_its_transparency_alone_is_noticed():
    icon = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    icon.paste((0, 0, 0, 255), (2, 2, 6, 6))
    assert only(stored(icon)).facts.in_alpha_only
    assert only(stored(icon)).facts.is_plain
    icon.paste((200, 0, 0, 255), (2, 2, 4, 4))
    assert not only(stored(icon)).facts.in_alpha_only


def test_the_centre_of_a_wide_image_is_kept():
    pixels = np.zeros((4, 12, 3), dtype=np.uint8)
    pixels[:, 4:8] = 200
    assert (decode(Image.fromarray(pixels), 4) == 200).all()


# On all cores


@pytest.fixture
def many(monkeypatch):
    """Makes the smallest data sets worth other processes."""
    monkeypatch.setattr(decoding, "PROBE", 2)
    monkeypatch.setattr(decoding, "PAYS", 0)
    monkeypatch.setattr(decoding, "CHUNK", 3)
    monkeypatch.setattr(decoding, "AHEAD", 1)


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))


@pytest.mark.parametrize("read", [lambda folder: partial(read_file, folder), lambda folder: lambda n: read_file(folder, n)])
def test_processes_and_threads_give_the_same_images_in_the_same_order(folder, many, read):
    (folder / "bee" / "004.png").write_bytes(b"no picture")
    names = files(folder)
    for name, image in zip(names, decoded(names, read(folder), size=8), strict=True):
        if name == "bee/004.png":
            assert image.pixels is None
            assert image.reason == "no kind of image that Pillow knows begins its 10 bytes"
        else:
            assert image.pixels == decode(Image.open(folder / name), 8).tobytes()


def dies(folder: Path, name: str):
    """Ends its process at one image."""
    return os._exit(1) if name == "cat/005.png" else read_file(folder, name)


@pytest.mark.thorough
def test_a_process_that_dies_is_one_message(folder, many):
    with pytest.raises(NasError, match="one died"):
        list(decoded(files(folder), partial(dies, folder), size=8))
