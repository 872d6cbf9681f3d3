"""Image files to pixels, on all cores where that pays; a file that can't be decoded gives its reason instead."""

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from nas.callbacks import ignore
from nas.data.quota import cpu_quota
from nas.errors import NasError, in_one_line

PROBE = 64  # images decoded here first: they tell what the others will cost
PAYS = 2.0  # expected seconds of decoding from which starting other processes (half a second each) is worth it
CHUNK = 64  # images sent to a process at once
AHEAD = 4  # chunks a core may be ahead of what was taken: bounds the memory

Read = Callable[[Any], tuple[Image.Image, int]]
OnDecoded = Callable[[int, int, Literal["images", "bytes"]], None]
"""Told how many images are decoded, of how many; and before, how many bytes of a packed tar are unpacked. It begins at 0."""


class Decoded(NamedTuple):
    """What became of one image."""

    pixels: bytes | None
    """uint8 (size, size, 3); None where the image can't be decoded."""
    checksum: int
    """Of what the image is made from."""
    reason: str = ""
    """Why it can't be decoded."""


def decode(image: Image.Image, size: int) -> np.ndarray:
    """RGB pixels `(size, size, 3)`: the largest centred square, scaled bilinearly; an animation's first frame.

    As in timm's loaders, transparency is dropped, and a camera's note on how to turn the image (EXIF) is not followed.
    ValueError for pixels whose range the file doesn't tell.
    """
    image.draft("RGB", (2 * size, 2 * size))  # JPEG only: decodes at a fraction of the size where twice the need is left
    return np.asarray(ImageOps.fit(as_rgb(image), (size, size), Image.Resampling.BILINEAR))


def as_rgb(image: Image.Image) -> Image.Image:
    """The image decoded, in 8 bits of red, green and blue; ValueError for pixels whose range the file doesn't tell."""
    image.load()
    image.info.pop("transparency", None)  # dropped all the same, but with a warning for each image
    if image.mode[0] in "IF":
        image = _eight_bits(image)
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """A greyscale image of 16 bits with 8; convert("RGB") would cut it off at 255 instead of scaling."""
    values = np.asarray(image, dtype=np.float32)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise ValueError(f"pixels must have 8 or 16 bits, but their mode is {image.mode}, and nothing says what is white")
    return Image.fromarray((values / 257).astype(np.uint8))


def decoded(places: Sequence[Any], read: Read, *, size: int, on_decoded: OnDecoded = ignore) -> Iterator[Decoded]:
    """Every image in the order of `places`; NasError where a decoding process dies."""
    on_decoded(0, len(places), "images")
    for done, image in enumerate(_decoded(places, read, size), 1):
        yield image
        on_decoded(done, len(places), "images")


def _decoded(places: Sequence[Any], read: Read, size: int) -> Iterator[Decoded]:
    began = time.perf_counter()
    first, rest = _chunk(places[:PROBE], read, size), places[PROBE:]
    expected = (time.perf_counter() - began) / PROBE * len(rest)
    yield from first
    if expected < PAYS:
        yield from (image for place in rest for image in _chunk([place], read, size))
    else:
        yield from _on_all_cores(rest, read, size)


def _on_all_cores(places: Sequence[Any], read: Read, size: int) -> Iterator[Decoded]:
    with _executor(read) as workers:
        running: deque[Future[list[Decoded]]] = deque()
        ahead = AHEAD * num_cores()
        try:
            for start in range(0, len(places), CHUNK):
                running.append(workers.submit(_chunk, places[start : start + CHUNK], read, size))
                if len(running) > ahead:
                    yield from running.popleft().result()
            while running:
                yield from running.popleft().result()
        except BrokenProcessPool:
            raise NasError(
                "every process that decodes images must live until it is done, but one died: the system may have ended it for "
                "want of memory, or the script that called lacks its `if __name__ == '__main__':`. Free memory, or add it."
            ) from None
        finally:
            workers.shutdown(cancel_futures=True)


def _executor(read: Read) -> Executor:
    """Processes, because decoding a small image holds Python's lock; threads for a data set that lives in this process."""
    if not isinstance(read, partial):
        return ThreadPoolExecutor(num_cores())
    # spawned: a fork of a process in which torch or ray run threads may wait for ever for a lock that one of them held
    return ProcessPoolExecutor(num_cores(), mp_context=get_context("spawn"), initializer=_leave_interrupts_to_the_driver)


def _leave_interrupts_to_the_driver() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def num_cores() -> int:
    """The cores that this process may use: those it is bound to, and no more than its container's quota, rounded down."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, int(cpu_quota() or cores)))


def _chunk(places: Sequence[Any], read: Read, size: int) -> list[Decoded]:
    return [_one(place, read, size) for place in places]


def _one(place: Any, read: Read, size: int) -> Decoded:
    try:
        image, checksum = read(place)
        return Decoded(decode(image, size).tobytes(), checksum)
    except Exception as error:  # a broken file can make a decoder raise anything; the caller counts and names it
        return Decoded(None, 0, in_one_line(error))
