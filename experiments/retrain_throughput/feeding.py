"""Images a second that one core makes ready for a training at 224 px: as timm's loader does it, and as ours.

    OMP_NUM_THREADS=1 python experiments/retrain_throughput/feeding.py [--images FOLDER] [--size 224]

Without --images 64 pictures of 500 x 375 px, ImageNet's usual size, are made and stored as JPEG. The ways take turns; the clock
is the process's CPU time. What was measured stands in README.md beside this file.
"""

import argparse
import io
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from timm.data import create_transform
from torch.utils.data import default_collate

from nas.data.decoding import AS_STORED
from nas.data.source import image_in
from nas.recipes.full import FullRecipe, Loader
from nas.retraining import views as views_module
from nas.retraining.loader import augmented, views_of
from nas.retraining.views import View, draw_by

TURNS, CPU = 9, torch.device("cpu")
RECIPE = FullRecipe(crop_padding=0, flip=True, random_erasing=0.25, loader=Loader())


def pictures(number: int = 64) -> list[bytes]:
    """JPEG files of pictures that have detail at every scale, as photos have, and some noise."""
    draw, files = np.random.default_rng(0), []
    for _ in range(number):
        pixels = 128 + draw.normal(0, 6, (375, 500, 3))
        for octave in range(1, 9):
            coarse = draw.normal(0, 60 / 1.6**octave, (max(2, 2**octave * 3 // 4), 2**octave, 3)).astype(np.float32)
            bands = (Image.fromarray(coarse[..., i]).resize((500, 375), Image.Resampling.BICUBIC) for i in range(3))
            pixels += np.stack([np.asarray(band) for band in bands], axis=-1)
        file = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "jpeg", quality=90)
        files.append(file.getvalue())
    return files


def by_timm(files: list[bytes], size: int, auto_augment: str | None) -> Callable[[], object]:
    """Read, decoded, cropped and augmented by Pillow, as timm's loader does in a decoding process."""
    change = create_transform(
        size, is_training=True, auto_augment=auto_augment, color_jitter=None, interpolation="random", use_prefetcher=True
    )
    return lambda: [change(Image.open(io.BytesIO(file)).convert("RGB")) for file in files]


def ours(files: list[bytes], size: int) -> Callable[[], list[View]]:
    """Read, decoded and cropped, with what is to be done drawn: a decoding process's part."""
    views = views_of(RECIPE.model_copy(update={"image_size": size}), AS_STORED, number=1)

    def run() -> list[View]:
        ready = []
        for number, file in enumerate(files):
            draw_by(0, number)
            ready.append(views(image_in(file)[0]))
        return ready

    return run


def with_pillow(run: Callable[[], object]) -> Callable[[], object]:
    """The same without torchvision's decoder."""

    def pillows() -> None:
        decoder, views_module._jpeg_decoder = views_module._jpeg_decoder, lambda: None
        try:
            run()
        finally:
            views_module._jpeg_decoder = decoder

    return pillows


def on_device(views: list[View]) -> Callable[[], object]:
    """What the device does to them, here on this core."""
    batch, generator = default_collate(views), torch.Generator().manual_seed(0)
    return lambda: augmented(batch, RECIPE, device=CPU, generator=generator)


def main() -> None:
    """Each way in turn, and its rate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--size", type=int, default=224)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = sorted(arguments.images.rglob("*.[jJ][pP]*[gG]"))[:64] if arguments.images else []
    files = [file.read_bytes() for file in found] or pictures()
    mine = ours(files, arguments.size)
    ways = {
        "timm's loader, as it was": by_timm(files, arguments.size, RECIPE.loader.auto_augment),
        "timm's loader without RandAugment": by_timm(files, arguments.size, None),
        "ours, decoded by Pillow": with_pillow(mine),
        "ours": mine,
        "ours: the device's part, on a core": on_device(mine()),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(TURNS + 1):
        for name, run in ways.items():
            began = time.process_time()
            run()
            if turn:
                seconds[name].append(time.process_time() - began)
    first = statistics.median(seconds["timm's loader, as it was"])
    for name, taken in seconds.items():
        median = statistics.median(taken)
        spread = f"{len(files) / max(taken):.0f} to {len(files) / min(taken):.0f}"
        print(f"{name}: {len(files) / median:.0f} images/s ({spread}), {first / median:.2f} of the first")


if __name__ == "__main__":
    main()
