"""Images that a program holds, as an archive that a search can read at any time: a torch data set, or arrays."""

import hashlib
import io
import operator
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nas.data.cache import cache_folder
from nas.errors import NasError, in_one_line, shortened
from nas.files import writable

KINDS = "Give a path, a torch data set of (image, label) with a length, or a pair of arrays (images, labels)."
CHANNELS = (1, 3)
FEWEST_CLASSES = 2
UNNAMED = 1_000  # classes are called by their number up to here


def path_of(data: Any) -> str | None:
    """What the setting data is given for a path or a name, which stay as they are, or for images; None for None."""
    return data if data is None else str(data if isinstance(data, str | Path) else as_archive(data))


def as_archive(data: Any) -> Path:
    """A tar of class folders in the cache with the images of a torch data set or of arrays, written unless it is there.

    Images are Pillow's, or arrays or tensors of uint8 or of floats from 0 to 1, `(H, W)`, `(H, W, C)` or `(C, H, W)` with one
    or three channels, all of one size; labels are whole numbers from 0. NasError for anything else.
    """
    images, names = _checked(data)
    folder, text, size = cache_folder() / "given", hashlib.sha256(repr(names).encode()), None
    draft, folders = folder / f".{os.getpid()}.tar", set[str]()
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with tarfile.open(draft, "w") as archive:
                for number, (pixels, label) in enumerate(images):
                    image = _image(pixels, where=f"data: image {number}")
                    size = size or image.size
                    _check_size(image, number, size)
                    label_folder = _folder_of(label, names, number)
                    folders.add(label_folder)
                    place = f"{label_folder}/{number:08d}.png"
                    _add(archive, place, image)
                    text.update(f"{place} {image.mode}".encode() + image.tobytes())
            if len(folders) < FEWEST_CLASSES:
                raise NasError(f"data: must have images of {FEWEST_CLASSES} classes at least, but has one label. {KINDS}")
            whole = folder / f"{text.hexdigest()[:16]}.tar"
            os.replace(draft, whole)
        finally:
            draft.unlink(missing_ok=True)
    return whole


def _check_size(image: Image.Image, number: int, size: tuple[int, int]) -> None:
    if image.size != size:
        raise NasError(
            f"data: images must all be of one size, but image 0 has {size[0]}x{size[1]} px and image {number} has "
            f"{image.size[0]}x{image.size[1]}. Resize them, or give the path of a folder, whose images may differ."
        )


def _checked(data: Any) -> tuple[Iterator[tuple[Any, Any]], list[str] | None]:
    """Pairs of image and label, at least one, and the names of the classes where the data set has some."""
    if isinstance(data, tuple | list) and len(data) == 2:
        images, labels = data
        if len(images) != len(labels):
            raise NasError(
                f"data: must have a label an image, but has {len(images):,} images and {len(labels):,} labels. {KINDS}"
            )
        if not len(images):
            raise NasError(f"data: must hold images, but holds none. {KINDS}")
        return zip(images, labels, strict=True), None
    if not hasattr(data, "__getitem__") or not hasattr(data, "__len__"):
        raise NasError(f"data: must have a length and numbered items, but {type(data).__name__} has not. {KINDS}")
    try:
        number = len(data)
    except TypeError:  # torch's own sign for a data set without a length
        raise NasError(f"data: must have a length, but {type(data).__name__} has none. {KINDS}") from None
    if not number:
        raise NasError(f"data: must hold images, but holds none. {KINDS}")
    first, again = _item(data, 0), _item(data, 0)
    if not isinstance(first, tuple | list) or len(first) < 2:
        raise NasError(f"data: must give pairs (image, label), but gives {type(first).__name__}. {KINDS}")
    if not np.array_equal(np.asarray(first[0]), np.asarray(again[0])):
        raise NasError(
            "data: must give the same image each time, but gives two for item 0. Leave random augmentation to the search."
        )
    names = getattr(data, "classes", None)
    items = (_item(data, i)[:2] for i in range(number))
    return items, [str(name) for name in names] if isinstance(names, list | tuple) else None


def _item(data: Any, number: int) -> Any:
    """An item of a data set, whose own code may raise anything."""
    try:
        return data[number]
    except Exception as error:
        why = f"{type(error).__name__}: {in_one_line(error)}"
        raise NasError(f"data: item {number} of {type(data).__name__} can't be read: {why}. Mend the data set.") from error


def _folder_of(label: Any, names: list[str] | None, image: int) -> str:
    """A class's folder, so called that folders stand in the order of the labels."""
    try:
        number = -1 if isinstance(label, bool | np.bool_) else operator.index(label.item() if hasattr(label, "item") else label)
    except (TypeError, ValueError, RuntimeError):
        number = -1
    if not 0 <= number < 10**6:
        raise NasError(
            f"data: the label of image {image} must be a whole number from 0, but is {shortened(repr(label))}. {KINDS}"
        )
    if names is None and number < UNNAMED:
        return f"{number:03d}"
    if names is None:
        raise NasError(
            f"data: labels from {UNNAMED:,} on need names in the data set's `classes`, but image {image} has {number}. Add it."
        )
    if number >= len(names):
        raise NasError(
            f"data: the label of image {image} must be below {len(names)}, the number of classes, but is {number}. {KINDS}"
        )
    ordered = [name.replace("/", "_") for name in names]
    return ordered[number] if ordered == sorted(set(ordered)) else f"{number:06d}_{ordered[number]}"


def _image(image: Any, *, where: str) -> Image.Image:
    """An image that was given in one of the usual forms; NasError where it is none."""
    if isinstance(image, Image.Image):
        return image
    values = np.asarray(image)
    if values.ndim == 3 and values.shape[0] in CHANNELS and values.shape[2] not in CHANNELS:
        values = values.transpose(1, 2, 0)  # (H, W, C)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] != 3) or 0 in values.shape:
        raise NasError(
            f"{where}: must be (H, W), (H, W, C) or (C, H, W) with 1 or 3 channels, but is {values.shape}. Reshape it."
        )
    if np.issubdtype(values.dtype, np.floating):
        if not (values >= 0).all() or not (values <= 1).all():  # not for NaN either
            rule = f"floats must lie from 0 to 1, but lie from {values.min():.3g} to {values.max():.3g}"
            raise NasError(f"{where}: {rule}. Give the images before they are normalised.")
        values = np.round(values * 255).astype(np.uint8)
    if values.dtype != np.uint8:
        raise NasError(f"{where}: must be uint8, or floats from 0 to 1, but is {values.dtype}. Convert it.")
    return Image.fromarray(np.ascontiguousarray(values))


def _add(archive: tarfile.TarFile, name: str, image: Image.Image) -> None:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    member = tarfile.TarInfo(name)
    member.size = buffer.tell()
    buffer.seek(0)
    archive.addfile(member, buffer)
