"""A full training's images: decoded in memory as in a search, read by a loader, or streamed.

Which images are trained on, held out and tested is a manifest here as well; of a stream it lists the classes alone.
"""

from functools import partial
from pathlib import Path
from typing import NamedTuple

from nas.callbacks import ignore
from nas.data.decoding import OnDecoded
from nas.data.draw import list_manifest, make_manifest, rendering_of
from nas.data.manifest import Manifest, load_split
from nas.data.registry import is_folder, open_source
from nas.data.source import Source
from nas.errors import ConfigError
from nas.recipes.full import FullRecipe
from nas.retraining.loader import Listed, Loaded, LoadedJudged, Unreadable
from nas.retraining.streams import STREAM, Streamed, StreamedJudged, stream_manifest
from nas.training import processes
from nas.training.batches import Batches, InMemory, InMemoryJudged, Judged


class FullData(NamedTuple):
    """What a training reads."""

    train: Batches
    validation: Judged | None
    """Training images that are held out; None where none are."""
    test: Judged


def manifest_of(recipe: FullRecipe, *, seed: int, root: Path | None = None, on_decoded: OnDecoded = ignore) -> Manifest:
    """The images of a recipe: each looked at where they will lie in memory, by their names alone where a loader reads them."""
    if recipe.data.startswith(STREAM):
        return stream_manifest(recipe, seed)
    make = make_manifest if recipe.loader is None else list_manifest
    manifest = make(recipe, seed=seed, root=root, on_decoded=on_decoded)
    if not manifest.test:
        raise ConfigError(
            f"{recipe.data}: the test split must hold images that are not trained on, but all of them are copies of others. "
            "Add new ones, or say keep_copies: true."
        )
    return manifest


def data_of(manifest: Manifest, recipe: FullRecipe, *, unreadable: Path, root: Path | None = None) -> FullData:
    """The images of a manifest; those that a loader finds unreadable are noted in the file `unreadable`."""
    if recipe.data.startswith(STREAM):
        return FullData(Streamed(recipe, manifest, root), None, StreamedJudged(recipe, manifest, root))
    if recipe.loader is None:
        return _in_memory(manifest, recipe, root)
    source, rendering = _source(manifest.data, root), rendering_of(recipe)
    listed = partial(Listed, source, broken=Unreadable(unreadable), rendering=rendering)
    held_out = LoadedJudged(listed(manifest.validation), recipe) if manifest.validation else None
    return FullData(Loaded(listed(manifest.train), recipe), held_out, LoadedJudged(listed(manifest.test), recipe))


def _source(data: str, root: Path | None) -> Source:
    """Where images are read. Of a folder or a tar the first process lists what there is, and tells the others where it lies."""
    if not is_folder(data):
        return open_source(data, root=root)
    return processes.of_first(lambda: open_source(data, root=root)._replace(train={}, test=None, ignored=()))


def _in_memory(manifest: Manifest, recipe: FullRecipe, root: Path | None) -> FullData:
    load = partial(load_split, manifest, image_size=recipe.full_size, root=root)
    validation = load("validation")
    held_out = InMemoryJudged(validation, recipe) if len(validation.labels) else None
    return FullData(InMemory(load("train"), recipe), held_out, InMemoryJudged(load("test"), recipe))
