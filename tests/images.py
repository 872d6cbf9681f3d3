"""Small image folders, and what is drawn from them."""

import numpy as np
import pytest
from PIL import Image

from nas.data.draw import make_manifest
from nas.errors import ConfigError
from nas.recipes.recipe import Recipe


def picture(path, *, seed=0, size=(12, 10), **options):
    """A random RGB image written to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def photo(width, height=None, *, seed=0):
    """A smooth picture in colour, as a photo is."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height or width), Image.Resampling.BICUBIC)


def class_folders(root, *, classes=("ant", "bee", "cat"), images=10, first=0):
    """`images` PNGs in a folder for each class; every file differs, also from those of another `first`."""
    for c, name in enumerate(classes):
        for i in range(images):
            picture(root / name / f"{i:03}.png", seed=1000 * c + i + first)
    return root


def manifest_of(folder, *, seed=0, **values):
    """What is drawn from the data `folder` by the defaults with these values."""
    return make_manifest(Recipe(data=str(folder), **values), seed=seed)


def ids(manifest, *splits):
    """The images of those splits."""
    return {i for split in splits for i, _ in getattr(manifest, split)}


def refusal(folder, **values):
    """The message that refuses the data."""
    with pytest.raises(ConfigError) as caught:
        manifest_of(folder, **values)
    return str(caught.value)
