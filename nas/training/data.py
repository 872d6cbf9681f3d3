"""Subset manifests, and the decoded cache that all trials of a machine share.

Search-training and search-validation images are drawn from the training split alone; the test split is for the last
evaluation of a retraining and for nothing else.
"""

import hashlib
import json
import os
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from nas.config import Value, parse_yaml, read_text, validated
from nas.errors import ConfigError, NasError
from nas.training.recipe import Recipe
from nas.training.sources import Pool, Source, is_folder, open_source

# One rule for photos and digits alike: ImageNet's channel statistics, which every timm model expects.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

TEST_SHARE = 0.2  # set aside where a data set has no test split of its own
TEST_SEED = 0  # the same for every seed of a search, so that none ever trains on another's test images
BLOCK = 1024  # images decoded between two writes: bounds the memory that a cache needs while it is built

Split = Literal["train", "validation", "test"]
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
    """As the recipe named it; a folder's place on this machine is no part of the hash."""
    class_names: tuple[str, ...]
    train: tuple[Item, ...]
    validation: tuple[Item, ...]
    test: tuple[Item, ...]
    content: str
    """Checksum over the listed files' contents, so that changed images under old names make another manifest."""
    skipped: tuple[tuple[str, str], ...] = ()
    """Files that were left out, each with the reason."""
    seed: int

    @cached_property
    def hash(self) -> str:
        """Twelve hexadecimal digits that are equal for equal images, labels and splits, wherever they lie."""
        kept = self.model_dump(mode="json", exclude={"skipped", "seed"})
        kept["data"] = "folder" if is_folder(self.data) else self.data
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]

    def write(self, path: Path) -> None:
        """The manifest as JSON; a half-written file is never seen."""
        with replacing(path) as temporary:
            temporary.write_text(self.model_dump_json())


def read_manifest(path: Path) -> Manifest:
    """The manifest in a JSON file; ConfigError where it is missing or damaged."""
    try:
        data = json.loads(read_text(path))
    except json.JSONDecodeError:
        data = parse_yaml(read_text(path), where=str(path))  # says line and column
    return validated(Manifest, data, where=str(path))


def make_manifest(recipe: Recipe, *, seed: int, root: Path | None = None) -> Manifest:
    """Images drawn for a recipe, each decoded once to see that it can be; ConfigError where the data can't serve it."""
    source = open_source(recipe.data, root=root)
    names = _chosen_classes(source, recipe)
    rest, test = _set_aside(source, names)
    inspector = _Inspector(source)
    rest = {name: _shuffled(rest[name], name, seed) for name in names}
    drawn = {name: inspector.first_readable(rest[name], recipe.images_per_class) for name in names}
    test = {name: inspector.first_readable(test[name], None) for name in names}
    inspector.refuse_above(recipe.unreadable_share)
    _check_counts(drawn, test, recipe)
    numbers = {name: min(max(1, round(len(ids) * recipe.validation_share)), len(ids) - 1) for name, ids in drawn.items()}
    return Manifest(
        data=recipe.data,
        class_names=names,
        train=_items({name: ids[numbers[name] :] for name, ids in drawn.items()}),
        validation=_items({name: ids[: numbers[name]] for name, ids in drawn.items()}),
        test=_items(test),
        content=inspector.checksum([i for pool in (drawn, test) for ids in pool.values() for i in ids]),
        skipped=source.ignored + tuple(inspector.unreadable),
        seed=seed,
    )


def _chosen_classes(source: Source, recipe: Recipe) -> tuple[str, ...]:
    """Sorted names of the classes a recipe takes, spread evenly over all; every one stands in both splits."""
    names = sorted(source.train)
    if source.test is not None and set(names) != set(source.test):
        odd = sorted(set(names) ^ set(source.test))
        raise ConfigError(
            f"{recipe.data}: every class must stand in the training and the test split, but {_few(odd)} stands in one only. "
            "Add or remove these folders."
        )
    if len(names) < max(2, recipe.classes or 2):
        raise ConfigError(
            f"{recipe.data}: must have at least {max(2, recipe.classes or 2)} classes, but has {len(names)}. "
            "Lower classes, or add class folders."
        )
    places = np.linspace(0, len(names) - 1, recipe.classes or len(names)).round().astype(int)
    return tuple(names[i] for i in places)


def _set_aside(source: Source, names: tuple[str, ...]) -> tuple[Pool, Pool]:
    """Training and test ids by class: the source's own splits, or a fixed share of its only one."""
    if source.test is not None:
        return source.train, source.test
    rest, test = {}, {}
    for name in names:
        ids = _shuffled(source.train[name], name, TEST_SEED)
        number = max(1, round(len(ids) * TEST_SHARE)) if ids else 0
        test[name], rest[name] = sorted(ids[:number]), sorted(ids[number:])
    return rest, test


def _shuffled(ids: list[str], name: str, seed: int) -> list[str]:
    """`ids` in an order that hangs on the class and the seed alone, so that other classes never change it."""
    order = np.random.default_rng([seed, zlib.crc32(name.encode())]).permutation(len(ids))
    return [ids[i] for i in order]


def _check_counts(drawn: Pool, test: Pool, recipe: Recipe) -> None:
    wanted = recipe.images_per_class or 2
    short = {name: len(ids) for name, ids in drawn.items() if len(ids) < wanted}
    if short:
        name, number = min(short.items(), key=lambda pair: pair[1])
        raise ConfigError(
            f"{recipe.data}: every class must have at least {wanted} readable training images, but class {name!r} has {number} "
            f"({len(short)} of {len(drawn)} classes have too few). Lower images_per_class, or add images."
        )
    empty = [name for name, ids in test.items() if not ids]
    if empty:
        raise ConfigError(f"{recipe.data}: every class must have a readable test image, but {_few(empty)} has none. Add some.")


def _items(pool: Pool) -> tuple[Item, ...]:
    return tuple((i, label) for label, ids in enumerate(pool.values()) for i in ids)


def _few(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(repr(name) for name in names[:3]) + more


class _Inspector:
    """Decodes each candidate once; keeps checksums of the good and the reasons of the bad."""

    def __init__(self, source: Source):
        self.source, self.checksums, self.unreadable = source, {}, []

    def first_readable(self, ids: list[str], number: int | None) -> list[str]:
        """The first `number` of `ids` that can be decoded (all of them for None), in their order."""
        good: list[str] = []
        left = list(ids)
        while left and (number is None or len(good) < number):
            share = len(left) if number is None else number - len(good)
            tried, left = left[:share], left[share:]
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                good += [i for i, fine in zip(tried, pool.map(self._is_readable, tried), strict=True) if fine]
        return good

    def _is_readable(self, name: str) -> bool:
        try:
            image, checksum = self.source.read(name)
            decode(image, 8)
        except Exception as error:  # a broken file can make a decoder raise anything; it is counted and named
            self.unreadable.append((name, " ".join(str(error).split()) or type(error).__name__))
            return False
        self.checksums[name] = checksum
        return True

    def refuse_above(self, share: float) -> None:
        """ConfigError when more than `share` of what was tried can't be decoded."""
        tried = len(self.checksums) + len(self.unreadable)
        self.unreadable.sort()  # threads finish in any order
        if self.unreadable and len(self.unreadable) > share * tried:
            names = "; ".join(f"{name}: {why}" for name, why in self.unreadable[:3])
            raise ConfigError(
                f"at most {share:.1%} of the images may be unreadable (unreadable_share), but {len(self.unreadable)} of {tried}"
                f" are: {names}{'; …' if len(self.unreadable) > 3 else ''}. Mend or remove them, or raise unreadable_share."
            )

    def checksum(self, ids: list[str]) -> str:
        """Twelve hexadecimal digits over the contents of `ids`, in that order."""
        return hashlib.sha256(np.array([self.checksums[i] for i in ids], dtype=">u4").tobytes()).hexdigest()[:12]


def decode(image: Image.Image, size: int) -> np.ndarray:
    """RGB pixels `(size, size, 3)`: the largest centred square, scaled bilinearly; an animation's first frame."""
    image.draft("RGB", (2 * size, 2 * size))  # JPEG only: decodes at a fraction of the size where twice the need is left
    if image.mode.startswith("I"):  # 16 bits a pixel; convert("RGB") would cut them off at 255 instead of scaling
        image = Image.fromarray((np.asarray(image, dtype=np.float32) / 257).clip(0, 255).astype(np.uint8))
    return np.asarray(ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.BILINEAR))


def load(manifest: Manifest, split: Split, *, image_size: int, root: Path | None = None) -> Images:
    """One split, decoded once for each machine and opened as a memory map from then on."""
    items: tuple[Item, ...] = getattr(manifest, split)
    shape = (len(items), image_size, image_size, 3)
    path = cache_folder() / f"{manifest.hash}-{split}-{image_size}.npy"
    if not _is_whole(path, shape):
        _build(path, manifest, items, shape, root)
    return Images(np.load(path, mmap_mode="r"), np.array([label for _, label in items], dtype=np.int64))


def cache_folder() -> Path:
    """Where decoded images lie: $NAS_CACHE, or ~/.cache/metaformer-nas; it can be deleted at any time."""
    return Path(os.environ.get("NAS_CACHE", "~/.cache/metaformer-nas")).expanduser()


def _is_whole(path: Path, shape: tuple[int, ...]) -> bool:
    try:
        found = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):  # missing, or cut short: it is built again
        return False
    return found.shape == shape and found.dtype == np.uint8


def _build(path: Path, manifest: Manifest, items: tuple[Item, ...], shape: tuple[int, ...], root: Path | None) -> None:
    """Decodes on all cores and writes in order, so that neither memory nor a full disk is met by surprise."""
    source = open_source(manifest.data, root=root)

    def pixels(item: Item) -> bytes:
        try:
            return decode(source.read(item[0])[0], shape[1]).tobytes()
        except Exception as error:
            raise NasError(
                f"{item[0]} of {manifest.data} was readable when manifest {manifest.hash} was made, but not now: {error}. "
                "Restore it, or start a new run."
            ) from None

    with replacing(path) as temporary, temporary.open("wb") as file, ThreadPoolExecutor(os.cpu_count()) as pool:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for start in range(0, len(items), BLOCK):
            file.writelines(pool.map(pixels, items[start : start + BLOCK]))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of `path` in one step at the end; NasError where it can't be written."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        why = error.strerror or error
        raise NasError(f"{path}: must be writable, but: {why}. Free the disk or choose another folder.") from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
