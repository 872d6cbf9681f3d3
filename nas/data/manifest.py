"""Subset manifests: which images a search trains on, judges by and never sees; and their decoded pixels by split.

Search-training and search-validation images are drawn from the training split alone; the test split is for the last
evaluation of a retraining and for nothing else.
"""

import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nas.callbacks import ignore
from nas.config import Value, parse_yaml, read_text, validated
from nas.data.cache import Scratch, cache_folder, cached, discard_damaged
from nas.data.decoding import OnDecoded, Rendering, decoded
from nas.data.inspection import Inspector
from nas.data.layout import plain_name
from nas.data.registry import is_folder, open_source
from nas.data.source import Ignored, Pool, Source
from nas.data.splits import Split, Splits, split_up
from nas.errors import ConfigError, NasError, few, unknown
from nas.files import write_whole
from nas.recipes.recipe import Recipe

# One rule for photos and digits alike: ImageNet's channel statistics, which every timm model expects.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

UNEVEN = 1.5  # times an even share of the images: from there the largest class is named
LINES_SHOWN = 5  # of what was left out
TEST_SHARE = 0.2  # set aside where a data set has no test split of its own
WAY_OF_DECODING = "middle"  # in the names of cached files: pixels that another version made another way are not taken
LISTED = "listed"  # stands for the checksum of contents that nobody has looked at
TEST_SEED = 0  # the same for every seed of a search, so that none ever trains on another's test images

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
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
        lines = [f"  mind: {note}" for note in (*self.notes, *self._uneven)]
        lines += [f"  left out {name}: {why}" for name, why in self.skipped[:LINES_SHOWN]]
        more = len(self.skipped) - LINES_SHOWN
        return [*lines, f"  and {more:,} more were left out, listed in manifest.json"] if more > 0 else lines

    @property
    def _uneven(self) -> list[str]:
        """What an accuracy hides where most images to judge by are of one class."""
        numbers = Counter(label for _, label in self.validation or self.test)
        share, chance = max(numbers.values(), default=0) / max(numbers.total(), 1), 1 / len(self.class_names)
        if share <= UNEVEN * chance:
            return []
        return [
            f"{share:.1%} of the images to judge by are of one class: always answering so reaches that, chance {chance:.1%}"
        ]

    def write(self, path: Path) -> None:
        """The manifest as JSON; a half-written file is never seen."""
        write_whole(path, self.model_dump_json())


def read_manifest(path: Path) -> Manifest:
    """The manifest in a JSON file; ConfigError where it is missing or damaged."""
    try:
        data = json.loads(read_text(path))
    except (ValueError, RecursionError):
        data = parse_yaml(read_text(path), where=str(path))  # says line and column
    return validated(Manifest, data, where=str(path))


def make_manifest(recipe: Recipe, *, seed: int, root: Path | None = None, on_decoded: OnDecoded = ignore) -> Manifest:
    """Images drawn for a recipe, each decoded once, which fills the cache; what it held of them is checked to the last byte.

    ConfigError where the data can't serve the recipe, NasError where the cache has no room for the images.
    """
    source = open_source(recipe.data, root=root, on_decoded=on_decoded)
    names = _chosen_classes(source, recipe)
    rest, test = _set_aside(source, names)
    rest = {name: _shuffled(rest[name], name, seed) for name in names}
    with Scratch(recipe.full_size) as scratch:
        inspector = Inspector(source, scratch, rendering_of(recipe), on_decoded)
        drawn, test = inspector.first_readable(rest, {name: test[name] for name in names}, recipe.images_per_class)
        inspector.refuse_above(recipe.unreadable_share)
        _check_counts(drawn, test, recipe, own_test=source.test is not None)
        content = inspector.checksum([i for pool in (drawn, test) for ids in pool.values() for i in ids])
        splits, copies = split_up(drawn, test, recipe, checksums=inspector.checksums, own_test=source.test is not None)
        _check_splits(splits, recipe)
        manifest = _manifest(
            recipe, seed, splits, content=content, skipped=source.ignored + copies.left_out + inspector.unreadable
        )
        manifest = manifest.model_copy(update=_looked_at(manifest, inspector, source.notes + copies.notes))
        for split in SPLITS:
            discard_damaged(_cache_path(manifest, split, recipe.full_size))
            _cached(manifest, split, recipe.full_size, lambda items: scratch.rows([inspector.rows[name] for name, _ in items]))
    return manifest


def list_manifest(recipe: Recipe, *, seed: int, root: Path | None = None, on_decoded: OnDecoded = ignore) -> Manifest:
    """Images drawn for a recipe by their names alone, nothing decoded: for data that is too much to be looked at beforehand.

    ConfigError where the data can't serve the recipe.
    """
    source = open_source(recipe.data, root=root, on_decoded=on_decoded)
    names = _chosen_classes(source, recipe)
    rest, test = _set_aside(source, names)
    drawn = {name: _shuffled(rest[name], name, seed)[: recipe.images_per_class] for name in names}
    test = {name: test[name] for name in names}
    _check_counts(drawn, test, recipe, own_test=source.test is not None)
    splits, _ = split_up(drawn, test, recipe, checksums={}, own_test=source.test is not None)
    return _manifest(recipe, seed, splits, content=LISTED, skipped=source.ignored).model_copy(update={"notes": source.notes})


def _manifest(recipe: Recipe, seed: int, splits: Splits, *, content: str, skipped: Ignored) -> Manifest:
    items = {split: _items(pool) for split, pool in splits.items()}
    names, white = tuple(splits["train"]), recipe.white
    return Manifest(data=recipe.data, class_names=names, **items, content=content, skipped=skipped, white=white, seed=seed)


def _looked_at(manifest: Manifest, inspector: Inspector, notes: tuple[str, ...]) -> dict[str, Any]:
    """What is known of a manifest's images once they were decoded."""
    ids: dict[Split, list[str]] = {split: [i for i, _ in getattr(manifest, split)] for split in SPLITS}
    every = [i for names in ids.values() for i in names]
    return {
        "notes": (*notes, *inspector.notes(every)),
        "bits": max((inspector.facts[i].bits for i in every), default=8),
        "checksums": {split: tuple(inspector.checksums[i] for i in names) for split, names in ids.items()},
    }


def rendering_of(recipe: Recipe) -> Rendering:
    """How a recipe's files become pixels."""
    return Rendering(white=recipe.white, max_pixels=recipe.max_pixels)


def _chosen_classes(source: Source, recipe: Recipe) -> tuple[str, ...]:
    """Sorted names of the classes a recipe takes: those it lists, or some spread evenly over all. Each is in both splits."""
    splits = {"training": set(source.train), "test": set(source.train if source.test is None else source.test)}
    names = sorted(set.union(*splits.values()))
    if isinstance(recipe.classes, tuple):
        names = _listed_classes(names, recipe.classes, recipe.data)
    elif source.doubt:
        raise ConfigError(f"{recipe.data}: {source.doubt}; if they are the classes, list them under classes.")
    gone = {split: sorted({*names} - folders) for split, folders in splits.items()}
    missing = [f"{_quoted(absent)} from the {split} split" for split, absent in gone.items() if absent]
    if missing:
        raise ConfigError(
            f"{recipe.data}: every class must stand in the training and the test split, but missing are "
            f"{' and '.join(missing)}. Add or remove these folders, or list the classes to take under classes."
        )
    least = max(2, recipe.num_classes or 2)
    if len(names) < least:
        raise ConfigError(
            f"{recipe.data}: must have at least {least} classes, but has {len(names)} ({_quoted(names)}). Lower classes, or "
            f"add class folders.{_passed_over(source)}"
        )
    places = np.linspace(0, len(names) - 1, recipe.num_classes or len(names)).round().astype(int)
    return tuple(names[i] for i in places)


def _passed_over(source: Source) -> str:
    """What was left out, where that may be why something is missing."""
    if not source.ignored:
        return ""
    return f" Left out were {few([f'{name} ({why})' for name, why in source.ignored], most=3)}."


def _listed_classes(names: list[str], listed: tuple[str, ...], data: str) -> list[str]:
    """The names that a recipe lists, sorted; ConfigError where one of them is not in `names`.

    A line of a list may say more behind the name, as in "n01440764 tench".
    """
    existing = set(names)
    chosen = {line: next((name for name in _beginnings(line) if name in existing), None) for line in listed}
    odd = [line for line, name in chosen.items() if name is None]
    if odd:
        first, others = unknown("class", odd[0], names), f" Unknown as well: {_quoted(odd[1:])}." if odd[1:] else ""
        raise ConfigError(f"{data}: classes must be names of its class folders, but {first}{others}")
    names = sorted(name for name in chosen.values() if name is not None)
    if len(set(names)) < len(names):
        twice = next(name for name, other in pairwise(names) if name == other)
        raise ConfigError(f"{data}: classes must name different class folders, but {twice!r} stands twice. Remove one.")
    return names


def _beginnings(line: str) -> Iterator[str]:
    """A line, and what is left of it without its last words, down to the first."""
    words = plain_name(line).split(" ")
    return (" ".join(words[:number]) for number in range(len(words), 0, -1))


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
    """`ids` in an order that depends on the class and the seed alone, so that other classes never change it."""
    order = np.random.default_rng([seed, zlib.crc32(name.encode())]).permutation(len(ids))
    return [ids[i] for i in order]


def _check_counts(drawn: Pool, test: Pool, recipe: Recipe, *, own_test: bool) -> None:
    wanted = recipe.images_per_class or 2
    short = {name: len(ids) for name, ids in drawn.items() if len(ids) < wanted}
    if short:
        name, number = min(short.items(), key=lambda pair: pair[1])
        raise ConfigError(
            f"{recipe.data}: every class must have at least {wanted} readable training images, but class {name!r} has {number}"
            f"{'' if own_test else _set_aside_of(name, test)} ({len(short)} of {len(drawn)} classes have too few). "
            "Lower images_per_class, add images, or list the classes to take under classes."
        )
    empty = [name for name, ids in test.items() if not ids]
    if empty:
        raise ConfigError(
            f"{recipe.data}: every class must have a readable test image, but {_quoted(empty)} has none. Add some."
        )


def _set_aside_of(name: str, test: Pool) -> str:
    return f" beside {len(test[name])} that are set aside for the test split" if test[name] else ""


def _check_splits(splits: Splits, recipe: Recipe) -> None:
    """ConfigError where copies leave a class nothing to train on or to be judged by; what tests, asks for more itself."""
    needed: tuple[Split, ...] = ("train", "validation") if recipe.validation_share else ("train",)
    for split in needed:
        empty = [name for name, ids in splits[split].items() if not ids]
        if empty:
            raise ConfigError(
                f"{recipe.data}: every class must have images in each split, but without the copies of other images "
                f"{_quoted(empty)} has none for {split}. Add images, or say keep_copies: true."
            )


def _items(pool: Pool) -> tuple[Item, ...]:
    return tuple((i, label) for label, ids in enumerate(pool.values()) for i in ids)


def _quoted(names: list[str]) -> str:
    return few([repr(name) for name in names], most=3)


def load_split(
    manifest: Manifest, split: Split, *, image_size: int, root: Path | None = None, on_decoded: OnDecoded = ignore
) -> Images:
    """One split, decoded once for each machine and opened as a memory map from then on, in milliseconds.

    NasError where an image is gone, or where the cache can't be written.
    """
    items: tuple[Item, ...] = getattr(manifest, split)
    pixels = _cached(manifest, split, image_size, lambda _: _decoded_again(manifest, split, image_size, root, on_decoded))
    return Images(pixels, np.array([label for _, label in items], dtype=np.int64))


def prepare_images(manifest: Manifest, *, image_size: int, root: Path | None = None, on_decoded: OnDecoded = ignore) -> None:
    """What a search reads, checked to the last byte and decoded where it has to be, before any trial opens it."""
    for split in ("train", "validation"):
        discard_damaged(_cache_path(manifest, split, image_size))
        load_split(manifest, split, image_size=image_size, root=root, on_decoded=on_decoded)


def _cache_path(manifest: Manifest, split: Split, image_size: int) -> Path:
    return cache_folder() / f"{manifest.hash}-{split}-{image_size}-{WAY_OF_DECODING}.npy"


def _cached(
    manifest: Manifest, split: Split, image_size: int, make: Callable[[tuple[Item, ...]], Iterator[bytes]]
) -> np.ndarray:
    items: tuple[Item, ...] = getattr(manifest, split)
    shape = (len(items), image_size, image_size, 3)
    if not items:
        return np.empty(shape, np.uint8)
    return cached(_cache_path(manifest, split, image_size), shape, lambda: make(items))


def _decoded_again(manifest: Manifest, split: Split, size: int, root: Path | None, on_decoded: OnDecoded) -> Iterator[bytes]:
    """Pixels for a machine, or an image size, that the manifest was not made with; NasError where an image is another now."""
    source = open_source(manifest.data, root=root, on_decoded=on_decoded)
    names = [name for name, _ in getattr(manifest, split)]
    checksums: tuple[int | None, ...] = manifest.checksums.get(split) or (None,) * len(names)
    rendering, places = Rendering(white=manifest.white), [*map(source.place, names)]
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
