"""Is a network as good when its images are augmented in batches on the device as when timm's loader does it with Pillow?

    OMP_NUM_THREADS=1 python experiments/retrain_throughput/accuracy.py DATA [--seeds 6]

DATA is a folder with train/<class>/ and val/<class>/. Each seed trains the same network twice, from the same weights, on the
same images in the same order: once by timm's loader, once by ours. A line a training in accuracy.csv, with which a later call
goes on.
"""

import argparse
import csv
import math
import statistics
import tempfile
import time
from pathlib import Path

import torch
from scipy.stats import t
from timm_loader import ByTimm
from torch import nn

from nas.models.metaformer import build
from nas.recipes.full import FullRecipe, Loader
from nas.retraining.data import data_of, manifest_of
from nas.space.reference import baseline
from nas.training.evaluation import evaluate
from nas.training.loop import fit

RECORD = Path(__file__).with_name("accuracy.csv")
COLUMNS = ("seed", "augmented_by", "accuracy", "loss", "train_loss", "seconds")
CLASSES, SIZE = 10, 32
RECIPE = {
    "classes": CLASSES, "images_per_class": 500, "image_size": SIZE, "epochs": 15, "warmup_epochs": 1, "batch_size": 50,
    "lr": 2e-3, "clip_grad": 1.0, "flip": True, "mixup": 0.2, "crop_padding": 0, "crop_scale": (0.3, 1.0),
    "random_erasing": 0.25, "validation_share": 0.3, "loader": Loader(workers=0),
}  # fmt: skip


def network(seed: int) -> nn.Module:
    """A small CAFormer (arXiv:2210.13452)."""
    torch.manual_seed(seed)
    stages = ("conv", "conv", "attention", "attention")
    return build(
        baseline((1, 1, 1, 1), (24, 48, 96, 128), mixers=stages, norm="layer", head="mlp"), image_size=SIZE, num_classes=CLASSES
    )


def train(data: Path, seed: int, augmented_by: str) -> dict[str, object]:
    """One training, judged by the images held out and those of the test split together: they are more."""
    recipe = FullRecipe(data=str(data.resolve()), **RECIPE)
    with tempfile.TemporaryDirectory() as scratch:
        sets = data_of(manifest_of(recipe, seed=seed), recipe, unreadable=Path(scratch) / "unreadable.tsv")
        model, began = network(seed), time.process_time()
        batches = ByTimm(sets.train) if augmented_by == "timm" else sets.train
        curve = fit(model, batches, None, recipe, seed=seed)
        seconds = time.process_time() - began
        judged = [sets.validation, sets.test]
        number = sum(images.num_images for images in judged)
        shares = [(images.num_images / number, evaluate(model, images, recipe)) for images in judged]
    accuracy, loss = (sum(share * getattr(score, name) for share, score in shares) for name in ("accuracy", "loss"))
    return dict(zip(COLUMNS, (seed, augmented_by, accuracy, loss, curve[-1].train_loss, seconds), strict=True))


def recorded() -> list[dict[str, str]]:
    """The trainings that are done."""
    return list(csv.DictReader(RECORD.open())) if RECORD.exists() else []


def keep(row: dict[str, object]) -> None:
    """A line more."""
    is_new = not RECORD.exists()
    with RECORD.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if is_new:
            writer.writeheader()
        writer.writerow({name: f"{value:.5g}" if isinstance(value, float) else value for name, value in row.items()})


def compare() -> None:
    """Ours minus timm's in pairs, with a 95 % interval (Student's t)."""
    rows = {(row["seed"], row["augmented_by"]): row for row in recorded()}
    seeds = sorted({seed for seed, _ in rows if {(seed, "timm"), (seed, "device")} <= set(rows)}, key=int)
    for name in ("accuracy", "loss", "train_loss"):
        by_timm, ours = ([float(rows[seed, way][name]) for seed in seeds] for way in ("timm", "device"))
        apart = [b - a for a, b in zip(by_timm, ours, strict=True)]
        if len(apart) > 1:
            half = t.ppf(0.975, len(apart) - 1) * statistics.stdev(apart) / math.sqrt(len(apart))
            means = f"timm {statistics.mean(by_timm):.4f}, on the device {statistics.mean(ours):.4f}"
            print(f"{name}: {means}; apart {statistics.mean(apart):+.4f} ± {half:.4f} ({len(apart)} pairs)")


def main() -> None:
    """What is missing of the pairs, then how far they are apart."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=6)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    done = {(int(row["seed"]), row["augmented_by"]) for row in recorded()}
    for seed in range(arguments.seeds):
        for way in ("timm", "device"):
            if (seed, way) not in done:
                keep(train(arguments.data, seed, way))
    compare()


if __name__ == "__main__":
    main()
