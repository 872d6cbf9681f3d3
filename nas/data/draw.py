"""Which images of a data set a recipe trains on, judges by and tests on: drawn once, and listed in a manifest.

Search-training and search-validation images are drawn from the training split alone; the test split is for the last
evaluation of a retraining and for nothing else.
"""

import time
import zlib
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nas.callbacks import ignore
from nas.cores import num_cores
from nas.data.cache import Scratch, discard_damaged
from nas.data.decoding import PROBE, OnDecoded, Rendering, decoded
from nas.data.inspection import Inspector
from nas.data.layout import plain_name
from nas.data.manifest import LISTED, SPLITS, Item, Manifest, cache_path, cached_split
from nas.data.registry import open_source
from nas.data.source import Ignored, Pool, Source
from nas.data.splits import JUDGED_SPLITS, Split, Splits, split_up
from nas.errors import ConfigError, few, unknown
from nas.recipes.recipe import Recipe

TEST_SHARE = 0.2  # set aside where a data set has no test split of its own
TEST_SEED = 0  # the same for every seed of a search, so that none ever trains on another's test images


def make_manifest(recipe: Recipe, *, seed: int, root: Path | None = None, on_decoded: OnDecoded = ignore) -> Manifest:
    """Images drawn for a recipe, each decoded once, which fills the cache; what it held of them is checked to the last byte.

    ConfigError where the data can't serve the recipe, NasError where the cache has no room for the images.
    """
    source = open_source(recipe.data, root=root, on_decoded=on_decoded)
    names = _chosen_classes(source, recipe)
    rest, test = _set_aside(source, names)
    rest = {name: _shuffled(rest[name], name, seed) for name in names}
    with Scratch(recipe.full_size) as scratch:
        inspector = Inspector(source, scratch, rendering_of(recipe)._replace(scaled=True), on_decoded)
        drawn, test = inspector.first_readable(rest, {name: test[name] for name in names}, recipe.images_per_class)
        inspector.refuse_above(recipe.unreadable_share)
        _check_counts(drawn, test, recipe, own_test=source.test is not None)
        content = inspector.checksum([i for pool in (drawn, test) for ids in pool.values() for i in ids])
        splits, copies = split_up(drawn, test, recipe, checksums=inspector.checksums, own_test=source.test is not None)
        _check_splits(splits, recipe)
        manifest = _manifest(
            recipe, seed, splits, content=content, skipped=inspector.unreadable + source.ignored + copies.left_out
        )
        manifest = manifest.model_copy(update=_looked_at(manifest, inspector, source.notes + copies.notes))
        inspector.decode_in_full([name for split in JUDGED_SPLITS for name, _ in getattr(manifest, split)])
        for split in SPLITS:
            discard_damaged(cache_path(manifest, split, recipe.full_size))
            rows = [inspector.rows[name] for name, _ in getattr(manifest, split)]
            cached_split(manifest, split, recipe.full_size, partial(scratch.rows, rows), room=scratch.moving_room)
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


class DataCost(NamedTuple):
    """What a search's images take of this machine before its first trial, from their names and a sample."""

    train: int
    validation: int
    test: int
    """Images of each split."""
    listing_seconds: float
    decoding_seconds: float
    """On all cores."""
    cache_bytes: int
    """Of the decoded images, on each machine that trains."""

    @property
    def num_images(self) -> int:
        """All that are decoded."""
        return self.train + self.validation + self.test


def data_cost(recipe: Recipe, *, seed: int, root: Path | None = None) -> DataCost:
    """Lists the images that a recipe takes and decodes PROBE of them; ConfigError where the data can't serve it."""
    began = time.perf_counter()
    manifest = list_manifest(recipe, seed=seed, root=root)
    listed = time.perf_counter()
    source = open_source(recipe.data, root=root)
    names = [name for split in SPLITS for name, _ in getattr(manifest, split)]
    sample = [names[i] for i in np.unique(np.linspace(0, len(names) - 1, PROBE).astype(int))]
    rendering, started = rendering_of(recipe)._replace(scaled=True), time.perf_counter()
    for _ in decoded([*map(source.place, sample)], source.read, size=recipe.full_size, rendering=rendering):
        pass
    each = (time.perf_counter() - started) / len(sample)
    return DataCost(
        train=len(manifest.train),
        validation=len(manifest.validation),
        test=len(manifest.test),
        listing_seconds=listed - began,
        decoding_seconds=each * len(names) / num_cores(),
        cache_bytes=len(names) * 3 * recipe.full_size**2,
    )


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
            f"{recipe.data}: must have at least {least} classes, but has {len(names)} ({_quoted(names)}). "
            f"{'Add class folders' if least == 2 else 'Lower classes, or add class folders'}.{_passed_over(source)}"
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
        fewer = "lower images_per_class (--set proxy.images_per_class=null takes all there are), " if wanted > 2 else ""
        raise ConfigError(
            f"{recipe.data}: every class must have at least {wanted} readable training images, but class {name!r} has {number}"
            f"{'' if own_test else _set_aside_of(name, test)} ({len(short)} of {len(drawn)} classes have too few). "
            f"Add images, {fewer}remove the folder, or list the classes to take under classes."
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
