"""Subset manifests: which images a search trains on, judges by and never sees; and their decoded pixels by split."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nas.callbacks import ignore
from nas.config.text import parse_yaml, read_text
from nas.config.values import Value, validated
from nas.data.cache import cache_folder, cached, discard_damaged
from nas.data.decoding import OnDecoded, Rendering, decoded
from nas.data.registry import is_folder, open_source
from nas.data.splits import JUDGED_SPLITS, Split
from nas.errors import ConfigError, NasError
from nas.files import write_whole

# One rule for photos and digits alike: ImageNet's channel statistics, which every timm model expects.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

UNEVEN = 1.5  # times an even share of the images: from there the largest class is named
LINES_SHOWN = 5  # of what was left out
# in the names of cached files: pixels that another version made another way are not taken
WAYS_OF_DECODING: dict[Split, str] = {"train": "scaled", "validation": "middle", "test": "middle"}
LISTED = "listed"  # stands for the checksum of contents that nobody has looked at

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
SEARCHED: tuple[Split, ...] = ("train", "validation")
Item = tuple[str, int]  # id, label


class Images(NamedTuple):
    """Decoded images and their labels; `pixels` may be a memory map that all trials share."""

    pixels: np.ndarray
    """uint8 (N, H, W, 3)."""
    labels: np.ndarray
    """int64 (N,)."""


class Manifest(Value):
    """Which images are trained on, validated on and tested on; it goes into every result."""

    data: str
    """As the recipe named it; a folder's place on this machine, or that it is a tar, is no part of the hash."""
    class_names: tuple[str, ...]
    train: tuple[Item, ...]
    validation: tuple[Item, ...]
    test: tuple[Item, ...]
    content: str
    """Checksum over the listed files' contents, so that changed images under old names make another manifest; LISTED where
    nobody looked."""
    skipped: tuple[tuple[str, str], ...] = ()
    """Files and folders that were left out, each with the reason."""
    notes: tuple[str, ...] = ()
    """What a user should know of the images."""
    white: int | None = None
    """The value that is white in them, where the recipe says so."""
    bits: int = 8
    """Most bits of a channel."""
    checksums: dict[Split, tuple[int, ...]] = {}  # noqa: RUF012 (frozen)
    """Of each image of a split, in its order; empty where nobody looked."""
    seed: int

    @cached_property
    def hash(self) -> str:
        """Twelve hexadecimal digits that are equal for equal images, labels and splits, wherever they lie."""
        told_apart_by_content = {"skipped", "seed", "notes", "bits", "checksums", *(["white"] if self.white is None else [])}
        kept = self.model_dump(mode="json", exclude=told_apart_by_content)
        kept["data"] = "folder" if is_folder(self.data) else self.data
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def remarks(self) -> list[str]:
        """What is said of the images before a training, a line each: the notes, and what was left out up to a handful."""
        uneven = self.uneven("validation" if self.validation else "test")
        lines = [f"  mind: {note}" for note in (*self.notes, *uneven)]
        lines += [f"  left out {name}: {why}" for name, why in self.skipped[:LINES_SHOWN]]
        more = len(self.skipped) - LINES_SHOWN
        return [*lines, f"  and {more:,} more were left out, listed in manifest.json"] if more > 0 else lines

    def uneven(self, split: Split) -> tuple[str, ...]:
        """What an accuracy on a split hides where most of its images are of one class."""
        (label, number), *_ = Counter(label for _, label in getattr(self, split)).most_common(1) or [(0, 0)]
        share, chance = number / max(1, len(getattr(self, split))), 1 / len(self.class_names)
        if share <= UNEVEN * chance:
            return ()
        return (
            f"{100 * share:.1f} % of the {split} images are of one class, {self.class_names[label]}: always answering so "
            f"reaches that; chance is {100 * chance:.1f} %",
        )

    def write(self, path: Path) -> None:
        """The manifest as JSON; a half-written file is never seen."""
        write_whole(path, self.model_dump_json())

    def labels(self, split: Split) -> np.ndarray:
        """int64 (N,): the class of each image of a split."""
        return np.array([label for _, label in getattr(self, split)], dtype=np.int64)

    def whole(self) -> "Manifest":
        """Itself, as a ManifestFile gives it."""
        return self

    def in_file(self, path: Path) -> "ManifestFile":
        """What a worker is sent of it once it was written to `path`."""
        smallest = np.min_scalar_type(len(self.class_names))
        labels = {split: self.labels(split).astype(smallest) for split in SPLITS}
        return ManifestFile(path.resolve(), self.hash, self.class_names, labels)


class ManifestFile(NamedTuple):
    """A manifest that lies in a file, without the names of its images: those are read by whoever has to decode them.

    ImageNet's would be 67 MB of each message to a worker, which Ray refuses, and 450 MB in its memory; this is 3 MB.
    """

    path: Path
    hash: str
    class_names: tuple[str, ...]
    labels_by_split: Mapping[Split, np.ndarray]

    def labels(self, split: Split) -> np.ndarray:
        """int64 (N,): the class of each image of a split."""
        return self.labels_by_split[split].astype(np.int64)

    def whole(self) -> Manifest:
        """The manifest in the file; NasError where that is another one by now."""
        manifest = read_manifest(self.path)
        if manifest.hash != self.hash:
            raise NasError(
                f"{self.path}: must be the manifest that the run began with, {self.hash}, but got {manifest.hash}. Restore it, "
                "or start a new run with another --out."
            )
        return manifest


AnyManifest = Manifest | ManifestFile


def read_manifest(path: Path) -> Manifest:
    """The manifest in a JSON file; ConfigError where it is missing or damaged."""
    try:
        data = json.loads(read_text(path))
    except (ValueError, RecursionError):
        data = parse_yaml(read_text(path), where=str(path))  # says line and column
    return validated(Manifest, data, where=str(path))


def check_place(manifest: Manifest, data: str) -> None:
    """ConfigError where `data` can't be where the images of a manifest lie now."""
    if data == manifest.data:
        return
    if not (is_folder(data) and is_folder(manifest.data)):
        raise ConfigError(
            f"proxy.data: must be where the images of the run lie, which are those of {manifest.data}, but got {data!r:.100}. "
            "Leave it as it was, or choose another --out for other images."
        )
    if not Path(data).exists():
        raise ConfigError(f"proxy.data: must be where the images lie now, but there is no {data!r:.200}. Mend the path.")


def load_split(
    manifest: AnyManifest, split: Split, *, image_size: int, root: Path | None = None, on_decoded: OnDecoded = ignore
) -> Images:
    """One split, decoded once for each machine and opened as a memory map from then on, in milliseconds.

    NasError where an image is gone, or where the cache can't be written.
    """
    pixels = cached_split(
        manifest, split, image_size, lambda: _decoded_again(manifest.whole(), split, image_size, root, on_decoded)
    )
    return Images(pixels, manifest.labels(split))


def prepare_images(manifest: AnyManifest, *, image_size: int, root: Path | None = None, on_decoded: OnDecoded = ignore) -> None:
    """What a search reads, checked to the last byte and decoded where it has to be, before any trial opens it."""
    for split in SEARCHED:
        discard_damaged(cache_path(manifest, split, image_size))
    decode_images(manifest, image_size=image_size, root=root, on_decoded=on_decoded)


def decode_images(manifest: AnyManifest, *, image_size: int, root: Path | None = None, on_decoded: OnDecoded = ignore) -> None:
    """What a search reads, decoded where this machine's cache lacks it."""
    for split in SEARCHED:
        load_split(manifest, split, image_size=image_size, root=root, on_decoded=on_decoded)


def cache_path(manifest: AnyManifest, split: Split, image_size: int) -> Path:
    """Where the pixels of a split lie on this machine."""
    return cache_folder() / f"{manifest.hash}-{split}-{image_size}-{WAYS_OF_DECODING[split]}.npy"


def cached_split(
    manifest: AnyManifest,
    split: Split,
    image_size: int,
    make: Callable[[], Iterator[bytes]],
    *,
    room: int | None = None,
) -> np.ndarray:
    """The pixels of a split, mapped; `make` gives those of its images in their order where the cache has none, for which the
    disk must have `room`, in bytes, or as much as they are."""
    number = len(manifest.labels(split))
    shape = (number, image_size, image_size, 3)
    if not number:
        return np.empty(shape, np.uint8)
    return cached(cache_path(manifest, split, image_size), shape, make, room=room)


def _decoded_again(manifest: Manifest, split: Split, size: int, root: Path | None, on_decoded: OnDecoded) -> Iterator[bytes]:
    """Pixels for a machine, or an image size, that the manifest was not made with; NasError where an image is another now."""
    source = open_source(manifest.data, root=root, on_decoded=on_decoded)
    names = [name for name, _ in getattr(manifest, split)]
    checksums: tuple[int | None, ...] = manifest.checksums.get(split) or (None,) * len(names)
    rendering = Rendering(white=manifest.white, scaled=split not in JUDGED_SPLITS)
    places = [*map(source.place, names)]
    images = decoded(places, source.read, size=size, rendering=rendering, on_decoded=on_decoded)
    for name, image, checksum in zip(names, images, checksums, strict=True):
        if image.pixels is None:
            raise NasError(
                f"{name} of {root or manifest.data} was readable when manifest {manifest.hash} was made, but not now: "
                f"{image.reason}. Restore it, or start a new run."
            )
        if checksum not in (None, image.checksum):
            raise NasError(
                f"{name} of {root or manifest.data} has other contents than when manifest {manifest.hash} was made, so results "
                "on it could not be compared with those before. Restore it, or start a new run with another --out."
            )
        yield image.pixels
