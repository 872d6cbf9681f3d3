"""Every kind of image is decoded alike, on one core or on all, in order."""

import io
import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas.errors import NasError
from nas.training import decoding
from nas.training.decoding import decode, decoded
from nas.training.sources import read_file


def odd_image(kind):
    grey = Image.fromarray(np.full((9, 14), 100, dtype=np.uint8))
    if kind == "16-bit":
        return Image.fromarray(np.full((9, 14), 100 * 257, dtype=np.uint16)), "PNG", {}
    if kind == "animated":
        return grey.convert("P"), "GIF", {"save_all": True, "append_images": [Image.new("P", (14, 9), 7)]}
    if kind == "1x1":
        return grey.crop((0, 0, 1, 1)), "PNG", {}
    mode, suffix = {"grey": ("L", "JPEG"), "CMYK": ("CMYK", "JPEG"), "palette": ("P", "PNG"), "alpha": ("LA", "PNG")}[kind]
    return grey.convert(mode), suffix, {}


@pytest.mark.parametrize("kind", ["grey", "CMYK", "16-bit", "palette", "alpha", "animated", "1x1"])
def test_every_kind_of_image_becomes_eight_bit_rgb_of_the_same_grey(kind):
    image, suffix, options = odd_image(kind)
    buffer = io.BytesIO()
    image.save(buffer, suffix, **options)
    pixels = decode(Image.open(buffer), 8)
    assert (pixels.shape, pixels.dtype) == ((8, 8, 3), np.uint8)
    assert np.abs(pixels.astype(int) - 100).max() <= 2


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
            assert "cannot identify" in image.reason
        else:
            assert image.pixels == decode(Image.open(folder / name), 8).tobytes()


def dies(folder: Path, name: str):
    """Ends its process at one image."""
    return os._exit(1) if name == "cat/005.png" else read_file(folder, name)


def test_a_process_that_dies_is_one_message(folder, many):
    with pytest.raises(NasError, match="one died"):
        list(decoded(files(folder), partial(dies, folder), size=8))
