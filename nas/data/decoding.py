"""Image files to pixels, on all cores where that pays; a file that can't be decoded gives its reason instead."""

import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from math import ceil
from multiprocessing import get_context
from types import ModuleType
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import Image

from nas.callbacks import ignore
from nas.cores import num_cores
from nas.errors import NasError, in_one_line

PROBE = 64  # images decoded here first: they tell what the others will cost
PAYS = 2.0  # expected seconds of decoding from which starting other processes (half a second each) is worth it
CHUNK = 64  # images sent to a process at once
AHEAD = 4  # chunks a core may be ahead of what was taken: bounds the memory

EIGHT_BITS, SIXTEEN_BITS = 255, 65_535  # their largest values
SCALED_FROM = 2  # times the wanted side: what is left to scale smooths the difference away
LONG = 20  # times its shorter side an image may be long before its ends are left out; they would be scaled for nothing

Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit is a warning for some sizes and an error for others; Rendering has one

Read = Callable[[Any], tuple[Image.Image, int]]
OnDecoded = Callable[[int, int, Literal["images", "bytes"]], None]
"""Told how many images are decoded, of how many; and before, how many bytes of a packed tar are unpacked. It begins at 0."""


Chunk = Callable[[Sequence[Any]], "list[Decoded]"]
"""Decodes what lies at some places."""


class Rendering(NamedTuple):
    """How a file becomes pixels where its format leaves that open."""

    white: int | None = None
    """The value that is white; None for the largest one that the file's bits can hold."""
    max_pixels: int | None = None
    """Of a file; None takes any number."""
    scaled: bool = False
    """Whether a JPEG file may be decoded at a half, a quarter or an eighth of its size, which is faster, where that is still
    SCALED_FROM times what is wanted: its pixels then differ by a few of 255."""


AS_STORED = Rendering()


class PixelFacts(NamedTuple):
    """What the pixels of a file show of how they were made."""

    bits: int = 8
    """Of a channel: 8, 16 or 32."""
    top: int = 0
    """The largest value."""
    is_scaled: bool = False
    """Whether the file was decoded at a smaller size than its own."""
    is_plain: bool = False
    """Whether one colour is all that is left to see."""
    in_alpha_only: bool = False
    """Whether its picture stands in its transparency alone, which is dropped."""


class Decoded(NamedTuple):
    """What became of one image."""

    pixels: bytes | None
    """uint8 (size, size, 3); None where the image can't be decoded."""
    checksum: int
    """Of what the image is made from."""
    reason: str = ""
    """Why it can't be decoded."""
    facts: PixelFacts = PixelFacts()


def decode(image: Image.Image, size: int, rendering: Rendering = AS_STORED) -> np.ndarray:
    """RGB pixels `(size, size, 3)`: the shorter side scaled to `size` bilinearly, then the middle; an animation's first frame.

    To the bit what timm's loaders make of it with interpolation bilinear and crop_pct 1, but for more than 8 bits: there
    transparency is dropped as well, and a camera's note on how to turn the image (EXIF) is not followed. ValueError for pixels
    whose range the file doesn't tell.
    """
    return _middle(as_rgb(image, rendering), size)


def _middle(image: Image.Image, size: int) -> np.ndarray:
    """As torchvision's Resize and CenterCrop do it, roundings included; of a very long image the ends are cut off before."""
    width, height = image.size
    short = min(width, height)
    if max(width, height) > LONG * short:
        left, top = (max(0, (side - LONG * short) // 2) for side in (width, height))
        image = image.crop((left, top, width - left, height - top))
        width, height = image.size
    wide, high = (size if side == short else int(size * side / short) for side in (width, height))
    left, top = round((wide - size) / 2), round((high - size) / 2)
    scaled = image.resize((wide, high), Image.Resampling.BILINEAR)
    return np.asarray(scaled.crop((left, top, left + size, top + size)))


def as_rgb(image: Image.Image, rendering: Rendering = AS_STORED) -> Image.Image:
    """The image decoded, in 8 bits of red, green and blue; ValueError for pixels whose range the file doesn't tell."""
    return _rendered(image, rendering)[0]


def _rendered(image: Image.Image, rendering: Rendering, *, size: int | None = None) -> tuple[Image.Image, PixelFacts]:
    """The same, and what there is to know of the file; the largest value only of more than 8 bits. `size` is the side that is
    wanted in the end."""
    refuse_large(image, rendering)
    is_scaled = rendering.scaled and size is not None and _scaled_down(image, SCALED_FROM * size)
    image.load()
    image.info.pop("transparency", None)  # dropped all the same, but with a warning for each image
    if image.mode[0] in "IF":
        return _eight_bits(image, rendering.white)
    rgb = image.convert("RGB")
    facts = PixelFacts(is_scaled=is_scaled, in_alpha_only=image.mode in ("LA", "RGBA", "PA") and _is_in_alpha_only(image, rgb))
    white = rendering.white
    if white is not None and white < EIGHT_BITS:
        rgb = rgb.point([min(EIGHT_BITS, round(value * EIGHT_BITS / white)) for value in range(EIGHT_BITS + 1)] * 3)
    return rgb, facts


def _scaled_down(image: Image.Image, least: int) -> bool:
    """Whether an image that isn't decoded yet will be smaller than it is, of `least` or more pixels a side; only JPEG's."""
    before = image.size
    image.draft(None, (least, least))
    return image.size != before


def refuse_large(image: Image.Image, rendering: Rendering) -> None:
    """ValueError for an image, perhaps not decoded yet, of more than max_pixels."""
    number = image.width * image.height
    if rendering.max_pixels is not None and number > rendering.max_pixels:
        raise ValueError(f"it has {number:,} pixels, and max_pixels is {rendering.max_pixels:,}")


def _is_in_alpha_only(image: Image.Image, rgb: Image.Image) -> bool:
    alpha, colours = np.asarray(image.getchannel("A")), np.asarray(rgb)
    return bool(alpha.min() < alpha.max() and (colours == colours[0, 0]).all())


def _eight_bits(image: Image.Image, white: int | None) -> tuple[Image.Image, PixelFacts]:
    """A greyscale image of 16 or 32 bits with 8; convert("RGB") would cut it off at 255 instead of scaling."""
    values: np.ndarray = np.asarray(image, dtype=np.float64)
    bits = 16 if image.mode.startswith("I;16") else 32
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are no finite numbers")
    if white is None and (image.mode == "F" or values.min() < 0 or values.max() > SIXTEEN_BITS):
        raise ValueError(f"nothing says which of its {bits}-bit values is white; set white to it")
    scaled = np.clip(values * EIGHT_BITS / (white or SIXTEEN_BITS), 0, EIGHT_BITS)
    return Image.fromarray(scaled.astype(np.uint8)).convert("RGB"), PixelFacts(bits=bits, top=ceil(values.max()))


def decoded(
    places: Sequence[Any], read: Read, *, size: int, rendering: Rendering = AS_STORED, on_decoded: OnDecoded = ignore
) -> Iterator[Decoded]:
    """Every image in the order of `places`; NasError where a decoding process dies."""
    on_decoded(0, len(places), "images")
    for done, image in enumerate(_decoded(places, read, partial(_chunk, read=read, size=size, rendering=rendering)), 1):
        yield image
        on_decoded(done, len(places), "images")


def _decoded(places: Sequence[Any], read: Read, chunk: Chunk) -> Iterator[Decoded]:
    began = time.perf_counter()
    first, rest = chunk(places[:PROBE]), places[PROBE:]
    expected = (time.perf_counter() - began) / PROBE * len(rest)
    yield from first
    if expected < PAYS:
        yield from (image for place in rest for image in chunk([place]))
    else:
        yield from _on_all_cores(rest, read, chunk)


def _on_all_cores(places: Sequence[Any], read: Read, chunk: Chunk) -> Iterator[Decoded]:
    with _executor(read) as workers:
        running: deque[Future[list[Decoded]]] = deque()
        ahead = AHEAD * num_cores()
        try:
            for start in range(0, len(places), CHUNK):
                with _main_unseen():  # this may start a process
                    running.append(workers.submit(chunk, places[start : start + CHUNK]))
                if len(running) > ahead:
                    yield from running.popleft().result()
            while running:
                yield from running.popleft().result()
        except BrokenProcessPool:
            raise NasError(
                "every process that decodes images must live until it is done, but one died: the system may have ended it for "
                "want of memory. Free some, and start again."
            ) from None
        finally:
            workers.shutdown(cancel_futures=True)


def _executor(read: Read) -> Executor:
    """Processes, because decoding a small image holds Python's lock; threads for a data set that lives in this process."""
    if not isinstance(read, partial):
        return ThreadPoolExecutor(num_cores())
    # spawned: a fork of a process in which torch or ray run threads may wait for ever for a lock that one of them held
    return ProcessPoolExecutor(num_cores(), mp_context=get_context("spawn"), initializer=_leave_interrupts_to_the_driver)


@contextmanager
def _main_unseen() -> Iterator[None]:
    """Processes that are spawned within do not run the script that this one runs: they need nothing of it, and a script that
    calls us outside of `if __name__ == "__main__"` would begin anew in each."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _leave_interrupts_to_the_driver() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _chunk(places: Sequence[Any], read: Read, size: int, rendering: Rendering) -> list[Decoded]:
    return [_one(place, read, size, rendering) for place in places]


def _one(place: Any, read: Read, size: int, rendering: Rendering) -> Decoded:
    try:
        image, checksum = read(place)
        rgb, facts = _rendered(image, rendering, size=size)
        pixels = _middle(rgb, size)
    except Exception as error:  # a broken file can make a decoder raise anything; the caller counts and names it
        return Decoded(None, 0, in_one_line(error))
    top = facts.top if facts.bits > 8 else int(pixels.max())
    return Decoded(pixels.tobytes(), checksum, "", facts._replace(top=top, is_plain=bool((pixels == pixels[0, 0]).all())))
