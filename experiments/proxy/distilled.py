"""What a teacher costs a proxy training, asked for every batch and read from what an earlier training of the seed asked.

    OMP_NUM_THREADS=1 python experiments/proxy/distilled.py --student poolformerv2@6.5M --teacher caformer@20M

A training of 2,000 random images of 64 px, one epoch: without a teacher, with one that nobody asked before, and the same again.
Ways take turns; CPU time of one core. Results and hardware: README.md beside this file.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from nas.data.manifest import Images
from nas.models.metaformer import build
from nas.recipes.recipe import Distillation, Proxy
from nas.run.settings.search import read_search
from nas.training.loop import fit
from nas.training.proxy import fresh_network, save_weights

YAML = Path(__file__).parents[1] / "calibration" / "reference" / "metaformer64.yaml"
IMAGES, CLASSES, TURNS = 2_000, 50, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", default="poolformerv2@6.5M")
    parser.add_argument("--teacher", default="caformer@20M")
    asked = parser.parse_args()
    search = read_search(YAML, settings=["proxy.data=none", "constraints.macs={min: 3M, max: 24M}"])
    student, teacher = search.design(asked.student), search.design(asked.teacher)
    plain = search.proxy.model_copy(update={"epochs": 1, "warmup_epochs": 0.2})
    draw = np.random.default_rng(0)
    images = Images(draw.integers(0, 256, (IMAGES, 64, 64, 3), dtype=np.uint8), draw.integers(0, CLASSES, IMAGES))
    seconds: dict[str, list[float]] = {"no teacher": [], "asked": [], "read": []}
    for turn in range(TURNS):
        with tempfile.TemporaryDirectory() as folder:
            os.environ["NAS_CACHE"] = folder
            (Path(folder) / "teacher.json").write_text(json.dumps(teacher.to_dict()))
            save_weights(build(teacher, image_size=64, num_classes=CLASSES), Path(folder) / "teacher.safetensors")
            settings = Distillation(teacher=f"{folder}/teacher.json", weights=f"{folder}/teacher.safetensors")
            distilled = Proxy(**{**plain.model_dump(), "distillation": settings})
            for way, recipe in zip(seconds, (plain, distilled, distilled), strict=True):
                model = fresh_network(student, recipe, num_classes=CLASSES, seed=turn)
                began = time.process_time()
                fit(model, images, None, recipe, seed=turn)
                seconds[way].append(time.process_time() - began)
    for way, taken in seconds.items():
        ratios = sorted(own / bare for own, bare in zip(taken, seconds["no teacher"], strict=True))
        print(
            f"{way}: {statistics.median(taken):.2f} s, {statistics.median(ratios):.2f} times as long as without a teacher "
            f"({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )


if __name__ == "__main__":
    main()
