"""A searched network against the papers' designs at equal MACs: same recipe, three seeds, the test split once each.

    OMP_NUM_THREADS=1 python experiments/retrain_tiny_imagenet/run.py DATA OUT

DATA is the folder of ImageNet classes at 64 px (train/ and val/); OUT takes the trainings, which go on where they stopped.
What was measured stands in README.md beside this file.
"""

import csv
import statistics
import sys
from pathlib import Path

import torch

from nas.recipes.full import read_full_recipe
from nas.retraining.train import Job, run
from nas.space.architecture import Architecture, read_architecture
from nas.space.cost import cost
from nas.space.reference import baseline, poolformer
from nas.units import count, duration, percent

HERE = Path(__file__).parent
SEEDS = (0, 1, 2)
IMAGE_SIZE, CLASSES, HEAD_DIM = 64, 25, 16  # attention heads of 16 channels, as in the searched space
WIDTHS = (64, 128, 320, 512)  # of S12 and S18; their depths are divided by three
LAYER_SCALE = 0.1  # PoolFormer's own 1e-5 is made for 300 epochs: in ten its blocks would hardly begin to count


def poolformer_of(widths: tuple[int, ...]) -> Architecture:
    """PoolFormer-S12 (arXiv:2111.11418) with depths 1-1-2-1."""
    return resized(poolformer(layer_scale=LAYER_SCALE), (1, 1, 2, 1), widths)


def convformer_of(widths: tuple[int, ...]) -> Architecture:
    """ConvFormer-S18 (arXiv:2210.13452) with depths 1-1-3-1."""
    return baseline((1, 1, 3, 1), widths, mixers=("conv",) * 4, norm="layer", head="mlp")


def caformer_of(widths: tuple[int, ...]) -> Architecture:
    """CAFormer-S18 (arXiv:2210.13452) with depths 1-1-3-1."""
    found = baseline(
        (1, 1, 3, 1), [32 * w for w in widths], mixers=("conv", "conv", *2 * ("attention",)), norm="layer", head="mlp"
    )
    return resized(found, (1, 1, 3, 1), widths)


def resized(design: Architecture, depths: tuple[int, ...], widths: tuple[int, ...]) -> Architecture:
    """A design with other depths and widths, and attention heads that divide them."""
    stages = [
        {**stage.model_dump(), "depth": depth, "width": width, "head_dim": stage.head_dim and HEAD_DIM}
        for stage, depth, width in zip(design.stages, depths, widths, strict=True)
    ]
    return Architecture.model_validate({**design.model_dump(), "stages": stages})


def macs(architecture: Architecture) -> int:
    """For one image of this experiment."""
    return cost(architecture, image_size=IMAGE_SIZE, num_classes=CLASSES).macs


def scaled(family, target: int, *, steps: tuple[int, ...] = (2, 2, 2, 2)) -> Architecture:
    """The member of a family whose MACs are nearest to `target`: WIDTHS times one factor, in each stage's step of channels."""
    factors = [i / 400 for i in range(40, 240)]
    widths = {tuple(max(step, round(f * w / step) * step) for w, step in zip(WIDTHS, steps, strict=True)) for f in factors}
    return min((family(w) for w in sorted(widths)), key=lambda architecture: abs(macs(architecture) - target))


def networks() -> dict[str, Architecture]:
    """What is compared."""
    searched = read_architecture(HERE / "searched.json")
    target = macs(searched)
    return {
        "searched": searched,
        "PoolFormer": scaled(poolformer_of, target),
        "ConvFormer": scaled(convformer_of, target),
        "CAFormer": scaled(caformer_of, target, steps=(2, 2, HEAD_DIM, HEAD_DIM)),
    }


def main(data: str, out: Path) -> None:
    """Train every network with every seed, and print mean and standard deviation of each."""
    torch.set_num_threads(1)
    recipe = read_full_recipe(HERE / "recipe.yaml").model_copy(update={"data": str(Path(data).resolve())})
    found = []
    for seed in SEEDS:
        for name, architecture in networks().items():
            folder = out / f"{name}_{seed}"
            result = run(Job(architecture=architecture, recipe=recipe, out=folder, seed=seed, device="cpu"))
            size = cost(architecture, image_size=IMAGE_SIZE, num_classes=CLASSES)
            found.append((name, seed, size.macs, size.params, result.accuracy, result.top5, result.seconds))
            print(f"{name}, seed {seed}: {percent(result.accuracy)}, {duration(result.seconds)}", flush=True)
            with (out / "results.csv").open("w", newline="") as file:
                csv.writer(file).writerows([("network", "seed", "macs", "params", "accuracy", "top5", "seconds"), *found])
    for name, architecture in networks().items():
        rows = [row for row in found if row[0] == name]
        accuracies = [100 * row[4] for row in rows]
        print(
            f"{name}: {statistics.mean(accuracies):.1f} ± {statistics.stdev(accuracies):.1f} % top-1 over seeds {SEEDS}, "
            f"{count(rows[0][2])} MACs, {count(rows[0][3])} params, {architecture.describe()}"
        )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
