"""Which files are images at all."""

import io
import subprocess
import sys

import pytest
from PIL import Image

from nas.data.source import image_in, open_image


def saved(kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF", "PPM"])
def test_pixels_are_images(kind):
    assert image_in(saved(kind))[0].size == (8, 8)


def test_postscript_is_none_whatever_its_file_is_called(tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(saved("EPS"))
    with pytest.raises(ValueError, match="no kind of image that Pillow knows"):
        image_in(path.read_bytes())
    with pytest.raises(OSError, match="cannot identify"):
        open_image(path)


ALONE = """
import sys
from PIL import Image, UnidentifiedImageError
from nas.data.source import forget_commands

assert Image.open(sys.argv[1]).format == "EPS"
forget_commands()
try:
    Image.open(sys.argv[1])
except UnidentifiedImageError:
    print(Image.open(sys.argv[2]).format)
"""


def test_what_opens_images_by_itself_finds_pixels_only(tmp_path):
    """In a process of its own: one that trained has forgotten them already."""
    for kind in ("EPS", "PNG"):
        (tmp_path / kind).write_bytes(saved(kind))
    command = [sys.executable, "-c", ALONE, str(tmp_path / "EPS"), str(tmp_path / "PNG")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "PNG\n"
