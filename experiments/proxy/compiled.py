"""When torch.compile pays for itself: what the first epoch costs more and a later one less, on one CPU thread.

    python experiments/proxy/compiled.py

PoolFormer's design with 1-1-3-1 blocks of widths 32-64-160-256 on the embedded digits at 64 px. Results: README.md beside this.
"""

import os
import statistics
import tempfile

import torch

from nas.data.draw import make_manifest
from nas.recipes.recipe import Recipe
from nas.space.architecture import Architecture, Stage
from nas.training.proxy import train_proxy

LIKE = {"mixer": "pool", "norm": "group", "norm_bias": True, "mlp_bias": True, "activation": "gelu", "layer_scale": 1e-2}


def main() -> None:
    torch.set_num_threads(1)
    stages = [Stage(depth=depth, width=width, **LIKE) for depth, width in zip((1, 1, 3, 1), (32, 64, 160, 256), strict=True)]
    with tempfile.TemporaryDirectory() as cache, tempfile.TemporaryDirectory() as kernels:
        os.environ |= {"NAS_CACHE": cache, "TORCHINDUCTOR_CACHE_DIR": kernels}
        first, later = {}, {}
        for compiled in (False, True):
            recipe = Recipe(image_size=64, images_per_class=100, epochs=5, compile=compiled)
            outcome = train_proxy(Architecture(stages=stages), recipe, make_manifest(recipe, seed=0), seed=0)
            seconds = [epoch.seconds for epoch in outcome.curve]
            first[compiled], later[compiled] = seconds[0], statistics.median(seconds[1:])
            print(f"{'compiled' if compiled else 'eager'}: first epoch {seconds[0]:.1f} s, later {later[compiled]:.2f} s each")
    saved, paid = later[False] - later[True], first[True] - first[False]
    if saved > 0:
        minutes = paid / saved * later[True] / 60
        print(f"pays for itself after {paid / saved:.0f} epochs of 800 images, {minutes:.1f} min of training")
    else:
        print("never pays for itself")


if __name__ == "__main__":
    main()
