"""What is made once for each machine: uint8 pixels in .npy files that every trial maps into its memory, and unpacked tars.

They lie in $NAS_CACHE, or ~/.cache/metaformer-nas, which can be moved and deleted at any time. Beside each file lies its
seal: size, checksum, and when it was last seen to have them. A trial trusts a file that nobody touched since, which takes
milliseconds; the driver reads every byte once before a search or a retraining (`discard_damaged`).
"""

import ctypes
import io
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
from pydantic import ValidationError

from nas.config.values import Value
from nas.errors import NasError
from nas.files import WAY_OUT, KernelLock, in_home, replacing, writable, write_whole
from nas.units import count

KEEP_SIZE, PUNCH_HOLE = 1, 2  # of fallocate(2)
PAGE = 4096  # bytes that an image's hole may leave at its ends
BLOCK = 1024  # images copied at once: bounds the memory
READ_BYTES = 2**24
VARIABLE, DEFAULT_CACHE = "NAS_CACHE", "~/.cache/metaformer-nas"

CACHE_WAY_OUT = f"{WAY_OUT} with {VARIABLE}"
_writable = partial(writable, way_out=CACHE_WAY_OUT)

Shape = tuple[int, int, int, int]  # (N, H, W, 3)


class Seal(Value):
    """What a whole file is known by."""

    size: int
    """Bytes."""
    crc32: int
    mtime_ns: int
    """Of the file when it last had this checksum."""
    origin: str = ""
    """What it was made from, where the file's name doesn't tell."""


def cache_folder() -> Path:
    """$NAS_CACHE, or ~/.cache/metaformer-nas: it can be moved and deleted at any time."""
    return in_home(os.environ.get(VARIABLE) or DEFAULT_CACHE, way_out=f"Set {VARIABLE} to a folder that can be written")


def teachers_folder() -> Path:
    """Where the answers of teachers lie that proxy trainings asked."""
    return cache_folder() / "teachers"


def cached(path: Path, shape: Shape, make: Callable[[], Iterable[bytes]], *, room: int | None = None) -> np.ndarray:
    """The pixels at `path`, mapped; `make` gives them where the file is missing, cut short or changed.

    Of several processes one makes the file while the others wait and then use it. NasError where it can't be written, or where
    the disk has not as many bytes of `room` left: those of the pixels, unless it says otherwise.
    """
    pixels = _opened(path, shape)
    if pixels is None:
        with _alone(path):
            pixels = _opened(path, shape)
            if pixels is None:
                _write(path, _npy(shape, make, room=int(np.prod(shape)) if room is None else room))
                pixels = np.load(path, mmap_mode="r")
    return pixels


def made(path: Path, make: Callable[[], Iterable[bytes]], *, origin: str) -> None:
    """Sees to it that `path` holds what `make` gives for that origin, to the last byte; of several processes one makes it.

    NasError where it can't be written.
    """
    if not _is_made_of(origin, path):
        with _alone(path):
            if not _is_made_of(origin, path):
                _write(path, make(), origin=origin)


def discard_damaged(path: Path) -> None:
    """Reads every byte at `path`; a file that isn't what was written is made again when it is next asked for."""
    if not _is_whole(path):
        with _writable(path):
            _seal_path(path).unlink(missing_ok=True)


def free_bytes() -> int:
    """What the cache's disk has left; NasError where its folder can't be made."""
    folder = cache_folder()
    with _writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        return shutil.disk_usage(folder).free


def check_room(
    num_bytes: int, *, work: str = "decoding the images", way_out: str = "or lower image_size, classes or images_per_class"
) -> None:
    """NasError where the cache's disk has less left than that."""
    folder, free = cache_folder(), free_bytes()
    if num_bytes > free:
        raise NasError(
            f"{folder}: {work} needs {count(num_bytes)}B, but only {count(free)}B are free there. "
            f"Free the disk, set NAS_CACHE to a folder on another one, {way_out}."
        )


class Scratch:
    """Decoded images in a file without a name on the cache's disk, so that nothing is left of it however this ends."""

    def __init__(self, image_size: int):
        self.image_size, self._num_images = image_size, 0
        with _writable(cache_folder()):
            cache_folder().mkdir(parents=True, exist_ok=True)
            self._file: IO[bytes] = tempfile.TemporaryFile(dir=cache_folder())  # noqa: SIM115  (closed in __exit__)
        self._gives_back = _give_back(self._file, 0, 1)

    def __enter__(self) -> "Scratch":
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # what was not written yet on a full disk
            self._file.close()

    def room(self, number: int) -> int:
        """Bytes of the disk that so many images take until they lie in their order, in another file."""
        each = 3 * self.image_size**2
        return number * (each + min(each, PAGE) if self._gives_back else 2 * each)

    @property
    def moving_room(self) -> int | None:
        """Bytes that are needed beside what lies here while images move to another file; None for as many as they are."""
        return BLOCK * 3 * self.image_size**2 if self._gives_back else None

    def add(self, pixels: bytes) -> int:
        """Keeps one image; its row."""
        with _writable(cache_folder()):
            self._file.write(pixels)
        self._num_images += 1
        return self._num_images - 1

    def rows(self, numbers: Sequence[int]) -> Iterator[bytes]:
        """The images in those rows, many at once; once they are taken, their place on the disk is given back."""
        with _writable(cache_folder()):
            self._file.flush()
        pixels = np.memmap(self._file, np.uint8, "r", shape=(self._num_images, self.image_size, self.image_size, 3))
        for start in range(0, len(numbers), BLOCK):
            block = numbers[start : start + BLOCK]
            yield pixels[block].tobytes()
            for row in block if self._gives_back else ():
                _give_back(self._file, row * 3 * self.image_size**2, 3 * self.image_size**2)


def _give_back(file: IO[bytes], offset: int, num_bytes: int) -> bool:
    """Makes a hole in a file, whose bytes then take no room and read as zeros; whether its disk can, as most of Linux's can."""
    if sys.platform != "linux":
        return False
    place = ctypes.c_int64(offset), ctypes.c_int64(num_bytes)
    return ctypes.CDLL(None).fallocate64(file.fileno(), KEEP_SIZE | PUNCH_HOLE, *place) == 0


def _opened(path: Path, shape: Shape) -> np.ndarray | None:
    """The pixels at `path`, mapped in milliseconds; None where they must be made."""
    seal, stat = _seal(path), _stat(path)
    if seal is None or stat is None:
        return None
    untouched = (stat.st_size, stat.st_mtime_ns) == (seal.size, seal.mtime_ns)
    if not untouched and not _is_whole(path):
        return None
    with suppress(OSError, ValueError, EOFError):  # it went this instant: it is made again
        pixels = np.load(path, mmap_mode="r")
        return pixels if (pixels.shape, pixels.dtype) == (shape, np.uint8) else None
    return None


def _is_made_of(origin: str, path: Path) -> bool:
    seal = _seal(path)
    return seal is not None and seal.origin == origin and _is_whole(path)


def _is_whole(path: Path) -> bool:
    """Whether the file has the bytes that were written; one that was copied or touched is sealed anew if it has."""
    seal, stat = _seal(path), _stat(path)
    if seal is None or stat is None or stat.st_size != seal.size or _crc32(path) != seal.crc32:
        return False
    if stat.st_mtime_ns != seal.mtime_ns:
        with suppress(NasError):  # a folder that is only read from: each opening reads it all
            _write_seal(path, seal.model_copy(update={"mtime_ns": stat.st_mtime_ns}))
    return True


def _npy(shape: Shape, make: Callable[[], Iterable[bytes]], *, room: int) -> Iterator[bytes]:
    """An .npy file of those pixels; NasError where the disk has not that much room."""
    check_room(room)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    yield header.getvalue()
    yield from make()


def _write(path: Path, blocks: Iterable[bytes], *, origin: str = "") -> None:
    for half_written in path.parent.glob(f".{path.name}.[0-9]*"):  # by a builder that was killed; none is at work but this one
        half_written.unlink(missing_ok=True)
    crc = 0
    with replacing(path, way_out=CACHE_WAY_OUT) as temporary:
        with temporary.open("wb") as file:
            for block in blocks:
                file.write(block)
                crc = zlib.crc32(block, crc)
        stat = temporary.stat()
    _write_seal(path, Seal(size=stat.st_size, crc32=crc, mtime_ns=stat.st_mtime_ns, origin=origin))


def _crc32(path: Path) -> int | None:
    crc = 0
    with suppress(OSError), path.open("rb") as file:
        while block := file.read(READ_BYTES):
            crc = zlib.crc32(block, crc)
        return crc
    return None


def _stat(path: Path) -> os.stat_result | None:
    with suppress(OSError):
        return path.stat()
    return None


def _seal_path(path: Path) -> Path:
    return path.with_suffix(".json")


def _seal(path: Path) -> Seal | None:
    with suppress(OSError, ValidationError):  # missing or damaged: the pixels are made again
        return Seal.model_validate_json(_seal_path(path).read_bytes())
    return None


def _write_seal(path: Path, seal: Seal) -> None:
    write_whole(_seal_path(path), seal.model_dump_json(), way_out=CACHE_WAY_OUT)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Waits until no other process makes `path`; a killed one's lock is free."""
    with _writable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with KernelLock(path.with_name(f".{path.name}.lock")):
        yield
