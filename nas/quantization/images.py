"""The images that a network is quantised by and judged by, made as its own evaluation makes them."""

import tempfile
import uuid
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nas.callbacks import ignore
from nas.config.text import read_json
from nas.config.values import validated
from nas.data.decoding import OnDecoded
from nas.data.draw import make_manifest, rendering_of
from nas.data.manifest import Images, Manifest, load_split
from nas.data.registry import data_root, open_source
from nas.data.splits import Split
from nas.errors import ConfigError
from nas.recipes.full import FullRecipe
from nas.recipes.recipe import Proxy, Recipe
from nas.retraining.loader import Listed, LoadedJudged, Unreadable
from nas.retraining.streams import STREAM
from nas.training.batches import InMemoryJudged, Judged

FEWEST_CALIBRATION = 16  # calibration images below which the ranges of what flows are those of single images
CHECKED = 512  # other training images, at most, by which it is decided what stays in float
CPU = torch.device("cpu")


class ShownImages(NamedTuple):
    """What a network is shown."""

    calibration: Tensor
    """Training images `(N, 3, S, S)`, by which the ranges of what flows are known."""
    checked: Tensor
    """Other training images, by which it is decided what stays in float."""
    judged: Judged
    """Images by which it is judged before and after, which decide nothing."""
    split: Split
    num_judged: int


def shown_images(manifest: Manifest, recipe: Recipe, *, image_size: int, number: int) -> ShownImages:
    """Calibration images and others from the training split, and the validation images (the test images where none are held
    out), all at `image_size`; ConfigError where there are too few."""
    if recipe.data.startswith(STREAM):
        raise ConfigError(f"{recipe.data}: a stream lists no images to calibrate by. Give a folder or a tar with --data.")
    labels = manifest.labels("train")
    if not FEWEST_CALIBRATION <= number <= len(labels) // 2:
        raise ConfigError(
            f"--images: must be {FEWEST_CALIBRATION} at least, and at most half of the {len(labels):,} training images "
            f"({len(labels) // 2:,}: others tell what has to stay in float), but got {number}. "
            + ("Give another number." if len(labels) >= 2 * FEWEST_CALIBRATION else "Give more images with --data.")
        )
    drawn = np.random.default_rng(0).permutation(len(labels))
    split: Split = "validation" if manifest.validation else "test"
    judged_by = partial(_judged, manifest, recipe, image_size=image_size)
    return ShownImages(
        _pixels(judged_by("train", np.sort(drawn[:number]))),
        _pixels(judged_by("train", np.sort(drawn[number : number + CHECKED]))),
        judged_by(split, np.arange(len(getattr(manifest, split)))),
        split,
        len(getattr(manifest, split)),
    )


def _judged(manifest: Manifest, recipe: Recipe, split: Split, places: np.ndarray, *, image_size: int) -> Judged:
    """The images of a split at these places, as an evaluation by the recipe sees them."""
    root = data_root(recipe.data)
    if isinstance(recipe, FullRecipe) and recipe.loader is not None:
        items = tuple(getattr(manifest, split)[i] for i in places)
        broken = Unreadable(Path(tempfile.gettempdir()) / f"nas-unreadable-{uuid.uuid4().hex}.tsv")  # made if there are any
        source = open_source(recipe.data, root=root)
        return LoadedJudged(Listed(source, items, broken=broken, rendering=rendering_of(recipe)), recipe)
    images = load_split(manifest, split, image_size=image_size, root=root)
    return InMemoryJudged(Images(images.pixels[places], images.labels[places]), recipe)


def _pixels(judged: Judged) -> Tensor:
    return torch.cat([images.contiguous() for images, _ in judged.chunks(CPU)])  # (N, 3, S, S)


def images_of_export(root: Path, data: str | None, *, on_decoded: OnDecoded = ignore) -> tuple[Manifest, Recipe, list[str]]:
    """The images that an exported network was trained on and judged by, and its recipe; with `data` those of other data.

    What to mind comes third: that other images than its own are taken. ConfigError where nothing says which images.
    """
    written = read_json(root / "config.json")
    origin = written["metaformer"].get("provenance", {})
    recipe = _recipe_of(origin, data, size=written["pretrained_cfg"]["input_size"][-1], where=str(root / "config.json"))
    if recipe is None:
        raise ConfigError(f"{root}: says of no images that it was trained on. Name a folder, a tar or a data set with --data.")
    manifest = make_manifest(recipe, seed=int(origin.get("seed") or 0), on_decoded=on_decoded)
    names = written.get("label_names")
    if names is not None and tuple(names) != manifest.class_names:
        raise ConfigError(
            f"--data: must have the {len(names)} classes of {root}, which begin with {names[0]}, but {recipe.data} has "
            f"{len(manifest.class_names)}, which begin with {manifest.class_names[0]}. Give the data that it was trained on."
        )
    is_own = manifest.hash == origin.get("manifest")
    mind = (
        f"{recipe.data} is not, or not drawn as, what {root} was trained on: it may have been trained on images that judge here"
    )
    return manifest, recipe, [] if is_own else [mind]


def _recipe_of(origin: dict[str, Any], data: str | None, *, size: int, where: str) -> Recipe | None:
    """The recipe that an export's origin names, with other data where some are asked for; None where nobody says which data."""
    settings = dict(origin["recipe"]) if isinstance(origin.get("recipe"), dict) else {"image_size": size}
    named = data or settings.get("data")
    if named is None:
        return None
    kind: type[Recipe] = FullRecipe if "loader" in settings else Proxy  # which a proxy never has
    return validated(kind, {**settings, "data": named, "image_size": size}, where=f"{where}: metaformer.provenance.recipe")
