"""RIFormer with against without a PoolFormer teacher of the same shape: three seeds, three losses, one table.

    python experiments/riformer_distillation/run.py DATA OUT

DATA is the folder of 50 ImageNet classes at 64 px (train/ and val/); OUT takes the trainings, which go on where they stopped.
What was measured stands in README.md beside this file.
"""

import statistics
import sys
from pathlib import Path

import torch

from nas.data.draw import make_manifest
from nas.recipes.full import FullRecipe
from nas.recipes.recipe import Distillation
from nas.retraining.folder import Result
from nas.retraining.train import retrain_network
from nas.space.architecture import Architecture, Stage
from nas.units import duration

SEEDS = (0, 1, 2)
RECIPE = FullRecipe(
    classes=20, image_size=32, epochs=20, batch_size=64, lr=2e-3, warmup_epochs=2, crop_padding=4, flip=True, stem_stride=2
)
STUDENT = {"images_per_class": 50, "epochs": 30}  # the teacher learns from all 500 of each class


def network(mixer: str) -> Architecture:
    """PoolFormer's blocks (arXiv:2111.11418) in a small body; `mixer` is "pool" for the teacher, "affine" for RIFormer."""
    block = {"norm": "group", "norm_bias": True, "mlp_bias": True, "activation": "gelu", "layer_scale": 0.1}
    sizes = zip((1, 1, 2, 1), (32, 64, 96, 128), strict=True)
    stages = tuple(Stage(mixer=mixer, depth=depth, width=width, **block) for depth, width in sizes)
    return Architecture(stages=stages, stem_norm=False, downsample_norm=False, head_norm="norm_pool")


def train(mixer: str, recipe: FullRecipe, out: Path, *, seed: int) -> Result:
    """One full training, tested once after its last epoch."""
    result = retrain_network(network(mixer), recipe, make_manifest(recipe, seed=seed), out=out, seed=seed)
    print(f"{out.name}: {result.accuracy:.1%} of {result.test_images} test images, {duration(result.seconds)}", flush=True)
    return result


def main(data: str, out: Path) -> None:
    """Train the teacher, then every student, and print mean and standard deviation of each loss."""
    torch.set_num_threads(1)
    recipe = RECIPE.model_copy(update={"data": str(Path(data).resolve())})
    train("pool", recipe, out / "teacher", seed=0)
    teacher = str((out / "teacher").resolve())
    losses = {
        "labels": None,
        "labels_logits": Distillation(teacher=teacher, temperature=2),
        "labels_logits_imitation": Distillation(teacher=teacher, temperature=2, imitation=1),
    }
    for name, distillation in losses.items():
        student = recipe.model_copy(update={**STUDENT, "distillation": distillation})
        found = [100 * train("affine", student, out / f"{name}_{seed}", seed=seed).accuracy for seed in SEEDS]
        print(f"{name}: {statistics.mean(found):.1f} ± {statistics.stdev(found):.1f} % over seeds {SEEDS}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
