"""What listing and decoding a folder of images costs: the first time, checked before a search, opened by a trial.

    python experiments/proxy/cache.py DATA_FOLDER/tiny-imagenet-50

Results and hardware: README.md beside this file.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from nas.data.draw import make_manifest
from nas.data.manifest import load_split, prepare_images
from nas.recipes.recipe import Recipe

OPENINGS = 20


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("data", help="a folder of train/<class>/ and val/<class>/")
    arguments.add_argument("--image-size", type=int, default=64)
    arguments.add_argument("--repeats", type=int, default=3)
    given = arguments.parse_args()
    for _ in range(given.repeats):
        with tempfile.TemporaryDirectory() as folder:
            os.environ["NAS_CACHE"] = folder
            print(measured(Recipe(data=given.data, image_size=given.image_size)))


def measured(recipe: Recipe) -> str:
    """One line of times."""
    begun, manifest = time.perf_counter(), make_manifest(recipe, seed=0)
    made, checked = time.perf_counter() - begun, seconds(lambda: prepare_images(manifest, image_size=recipe.full_size))
    opened = [seconds(lambda: load_split(manifest, "train", image_size=recipe.full_size)) for _ in range(OPENINGS)]
    images = sum(len(part) for part in (manifest.train, manifest.validation, manifest.test))
    size = sum(path.stat().st_size for path in Path(os.environ["NAS_CACHE"]).glob("*.npy"))
    return (
        f"{images:,} images, {size / 1e6:.0f} MB: manifest and cache {made:.1f} s ({images / made:,.0f} images/s), "
        f"full check {checked:.2f} s, opening {1000 * statistics.median(opened):.1f} ms; load average {os.getloadavg()[0]:.1f}"
    )


def seconds(work) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
