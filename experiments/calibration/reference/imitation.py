"""Stage imitation as a ranking signal: every stage of a network learns alone what the same stage of a teacher does.

    python experiments/calibration/reference/imitation.py --data DIR --teacher runs/teacher --out runs/imitation.csv

As in DNA (arXiv:1911.13053) and DONNA (arXiv:2012.08859, section 3.2): a stage is given the teacher's features, through a
linear map to its own width, and its output, mapped back, is compared with the teacher's next features: the squared error over
the variance, channel by channel. All stages of a network together are trained on each image as often as the network would be in
`--epochs` epochs. A row a network and seed, with the error of each stage on the validation images; what is there is not done
again. ranking.py says how it ranks.
"""

import argparse
import csv
import io
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from nas.calibration.plan import architectures_of
from nas.data.draw import make_manifest
from nas.data.manifest import load_split, prepare_images
from nas.data.registry import data_root
from nas.files import write_whole
from nas.models.metaformer import build
from nas.run.settings.search import read_search
from nas.space.architecture import Architecture
from nas.training.augment import augment, normalised
from nas.training.trained import load_network

YAML = Path(__file__).with_name("metaformer64.yaml")
COLUMNS = ("name", "seed", "epochs", "stage1", "stage2", "stage3", "stage4", "seconds")
BATCH, RATE = 64, 2e-3


class Features(NamedTuple):
    """Of a teacher, an array a stage and before them the images: `(N, C, H, W)`, float16, in files."""

    folder: Path

    def split(self, name: str) -> list[np.ndarray]:
        return [np.load(self.folder / f"{name}-{stage}.npy", mmap_mode="r") for stage in range(5)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--teacher", type=Path, required=True, help="what teacher.py wrote")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    search = read_search(YAML, settings=[f"proxy.data={asked.data}"])
    architectures, _ = architectures_of(search)
    done = _rows(asked.out)
    seen = {(row["name"], int(row["seed"]), int(row["epochs"])) for row in done}
    waiting = [(name, seed) for seed in range(asked.seeds) for name in architectures if (name, seed, asked.epochs) not in seen]
    with tempfile.TemporaryDirectory() as folder:
        features = Features(Path(folder))
        _make(features, search, teacher=asked.teacher, epochs=asked.epochs)
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(asked.workers, mp_context=context, initializer=partial(torch.set_num_threads, 1)) as pool:
            work = partial(_imitated, features=features, epochs=asked.epochs)
            futures = {pool.submit(work, architectures[name], seed=seed): (name, seed) for name, seed in waiting}
            for number, future in enumerate(as_completed(futures), start=1):
                name, seed = futures[future]
                errors, seconds = future.result()
                row = dict(zip(COLUMNS, (name, seed, asked.epochs, *np.round(errors, 5), round(seconds, 1)), strict=True))
                done.append(row)
                _write(asked.out, done)
                print(f"[{number}/{len(waiting)}] {name}, seed {seed}: {errors} in {seconds:.0f} s", flush=True)


def _make(features: Features, search, *, teacher: Path, epochs: int) -> None:
    """The teacher's features of training images, augmented anew for each epoch, and of validation images as they are."""
    recipe = search.proxy
    manifest, root = make_manifest(recipe, seed=search.split_seed), data_root(recipe.data)
    prepare_images(manifest, image_size=recipe.full_size, root=root)
    network = _teacher(teacher, recipe.full_size, len(manifest.class_names))
    generator = torch.Generator().manual_seed(0)
    for split in ("train", "validation"):
        images = load_split(manifest, split, image_size=recipe.full_size, root=root)
        batches = []
        for _ in range(epochs if split == "train" else 1):
            for start in range(0, len(images.labels), 256):
                pixels = torch.from_numpy(images.pixels[start : start + 256].copy())
                if split == "train":
                    x, _ = augment(pixels, recipe, image_size=recipe.full_size, generator=generator)
                else:
                    x = normalised(pixels, channels_last=recipe.channels_last)
                batches.append(_features(network, x))
        for stage, arrays in enumerate(zip(*batches, strict=True)):
            np.save(features.folder / f"{split}-{stage}.npy", np.concatenate(arrays))


def _teacher(folder: Path, image_size: int, num_classes: int) -> nn.Module:
    weights = str(folder / "weights.safetensors")
    network = load_network(str(folder / "architecture.json"), weights=weights, image_size=image_size, num_classes=num_classes)
    return network.model.eval().requires_grad_(False)


def _features(network: nn.Module, x: Tensor) -> list[np.ndarray]:
    """The images and the map after each stage."""
    maps = [x]
    with torch.no_grad():
        x = network.stem(x)
        for stage in network.stages:
            x = stage(x)
            maps.append(x)
    return [map_.contiguous().half().numpy() for map_ in maps]


class Imitator(nn.Module):
    """A stage between a map from the teacher's width to its own and one back."""

    def __init__(self, stage: nn.Module, widths: tuple[int, int], teachers: tuple[int, int], *, stem: nn.Module | None):
        super().__init__()
        self.into = stem if stem is not None else nn.Conv2d(teachers[0], widths[0], 1)
        self.stage, self.back = stage, nn.Conv2d(widths[1], teachers[1], 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.back(self.stage(self.into(x)))


def _imitated(architecture: Architecture, *, seed: int, features: Features, epochs: int) -> tuple[list[float], float]:
    """The error of each stage, and what it took."""
    started = time.perf_counter()
    train, validation = features.split("train"), features.split("validation")
    torch.manual_seed(seed)
    network = build(architecture, image_size=train[0].shape[-1], num_classes=2)
    widths = [3, *(stage.width for stage in architecture.stages)]
    errors = []
    for i, stage in enumerate(network.stages):
        teachers = (train[i].shape[1], train[i + 1].shape[1])
        student = Imitator(stage, (widths[i], widths[i + 1]), teachers, stem=None if i else network.stem)
        student.to(memory_format=torch.channels_last)
        errors.append(_learnt(student, (train[i], train[i + 1]), (validation[i], validation[i + 1]), seed=seed))
    return errors, time.perf_counter() - started


def _learnt(student: nn.Module, train: tuple, validation: tuple, *, seed: int) -> float:
    """The error on the validation images, after one pass over the training images."""
    variance = torch.from_numpy(train[1][:2000].astype(np.float32)).var(dim=(0, 2, 3)).clamp_min(1e-6)[:, None, None]
    order = torch.randperm(len(train[0]), generator=torch.Generator().manual_seed(seed)).split(BATCH)
    optimizer = torch.optim.AdamW(student.parameters(), lr=RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=len(order))
    for chosen in order:
        x, y = (_batch(array, np.sort(chosen.numpy())) for array in train)
        optimizer.zero_grad()
        ((student(x) - y).square() / variance).mean().backward()
        optimizer.step()
        schedule.step()
    student.eval()
    errors = []
    with torch.no_grad():
        for start in range(0, len(validation[0]), 250):
            x, y = (_batch(array, slice(start, start + 250)) for array in validation)
            errors.append(float(((student(x) - y).square() / variance).mean()))
    return float(np.mean(errors))


def _batch(array: np.ndarray, chosen) -> Tensor:
    return torch.from_numpy(array[chosen].astype(np.float32)).to(memory_format=torch.channels_last)


def _rows(path: Path) -> list[dict]:
    if not path.exists():
        return []
    with path.open() as file:
        return list(csv.DictReader(file))


def _write(path: Path, rows: list[dict]) -> None:
    pd.DataFrame(rows, columns=COLUMNS).to_csv(text := io.StringIO(), index=False)
    write_whole(path, text.getvalue())


if __name__ == "__main__":
    main()
