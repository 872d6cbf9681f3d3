"""Which files are images at all."""

import io

import pytest
from PIL import Image

from nas.data.source import forget_commands, image_in, open_image


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


def test_what_opens_images_by_itself_finds_pixels_only(monkeypatch):
    postscript = saved("EPS")
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    assert Image.open(io.BytesIO(postscript)).format == "EPS"
    forget_commands()
    with pytest.raises(OSError, match="cannot identify"):
        Image.open(io.BytesIO(postscript))
    assert Image.open(io.BytesIO(saved("PNG"))).format == "PNG"
