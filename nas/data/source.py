"""What every data set is before anything is drawn from it: ids by class, and a way to read the image of one."""

import io
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import IO, Any, NamedTuple

from PIL import Image, UnidentifiedImageError

from nas.data.decoding import Read

Pool = Mapping[str, list[str]]  # ids by class name, in a fixed order
Ignored = tuple[tuple[str, str], ...]
HOLD_COMMANDS = ("EPS", "WMF")  # PostScript, which Pillow hands to Ghostscript, and Windows metafiles


class Source(NamedTuple):
    """A data set before anything is drawn from it."""

    train: Pool
    test: Pool | None
    """None where the data set has no held-out split: a share of `train` is then set aside."""
    read: Read
    """The image at a place, perhaps not decoded yet, and a checksum of what it is made from."""
    ignored: Ignored = ()
    """Files and folders that lie among the images without being one, each with the reason."""
    place: Callable[[str], Any] = str
    """Where `read` finds the image of an id: the id itself, or something as small that another process can be sent."""
    notes: tuple[str, ...] = ()
    """What a user should know of how the data set was read."""
    doubt: str = ""
    """Why its classes may be none; whoever lists them by name knows better."""


def checksum_of(content: bytes) -> int:
    """64 bits by which files are told apart: CRC-32 in the lower half, by which manifests are hashed, Adler-32 above."""
    return zlib.adler32(content) << 32 | zlib.crc32(content)


def open_image(file: IO[bytes] | Path) -> Image.Image:
    """Pillow's image of a file, not decoded yet: of a kind that is pixels, none that a program must draw first."""
    return Image.open(file, formats=pixel_formats())


@cache
def pixel_formats() -> tuple[str, ...]:
    """Pillow's kinds of image but for those that hold commands: whatever a file is called, none of it is ever carried out."""
    Image.init()
    return tuple(name for name in Image.ID if name not in HOLD_COMMANDS)


def forget_commands() -> None:
    """From now on Pillow opens pixels only in this process and its forks, whoever calls it: timm's readers do by themselves."""
    Image.init()
    for name in HOLD_COMMANDS:
        Image.OPEN.pop(name, None)
        if name in Image.ID:
            Image.ID.remove(name)


def image_in(content: bytes) -> tuple[Image.Image, int]:
    """The image in a file's bytes, not decoded yet, and a checksum of them."""
    try:
        return open_image(io.BytesIO(content)), checksum_of(content)
    except UnidentifiedImageError:  # its own message names an address in memory
        raise ValueError(f"no kind of image that Pillow knows begins its {len(content):,} bytes") from None
