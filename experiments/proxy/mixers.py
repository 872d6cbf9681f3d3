"""Images that a CPU-second of one thread trains on, for each token mixer, with our operators and with torch's own.

    python experiments/proxy/mixers.py

The network has 1-1-3-1 blocks of widths 32-64-160-256, or where it says narrow 8-24-40-88, with that mixer in all of them, at
64 px, batch 64, 20 classes. All take turns, the best of the rounds counts. Results and hardware: README.md beside this file.
"""

import argparse
import time
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table

from nas.models import blocks, mixers, norms
from nas.models.metaformer import build
from nas.recipes.recipe import Recipe
from nas.space.architecture import Architecture, Stage
from nas.training.augment import normalised
from nas.training.evaluation import autocast
from nas.training.optimizer import optimizer

DEPTHS, WIDTHS, NARROW = (1, 1, 3, 1), (32, 64, 160, 256), (8, 24, 40, 88)
BATCH, STEPS = 64, 4
PLAIN = {
    (mixers, "average"): lambda x, size: F.avg_pool2d(x, size, stride=1, padding=size // 2, count_include_pad=False),
    (mixers, "attend"): F.scaled_dot_product_attention,
    (mixers, "filtered"): lambda x, weight, bias=None: F.conv2d(
        x, weight, bias, padding=weight.shape[-1] // 2, groups=len(weight)
    ),
    (mixers, "channel_map"): F.conv2d,
    (norms, "layer_norm"): F.layer_norm,
    (norms, "group_norm"): lambda x, weight, bias, eps: F.group_norm(x, 1, weight, bias, eps),
    (blocks, "gelu"): F.gelu,
    (blocks, "alike"): lambda weights, x: weights,
}
NETWORKS = {
    "identity": {"mixer": "identity"},
    "pool 3x3": {"mixer": "pool", "pool_size": 3},
    "pool 9x9": {"mixer": "pool", "pool_size": 9},
    "affine": {"mixer": "affine"},
    "random": {"mixer": "random"},
    "spatial_fc": {"mixer": "spatial_fc"},
    "dwconv 3x3": {"mixer": "dwconv", "kernel_size": 3},
    "dwconv 7x7": {"mixer": "dwconv", "kernel_size": 7},
    "conv 7x7": {"mixer": "conv", "kernel_size": 7},
    "attention": {"mixer": "attention", "head_dim": 32},
    "pool 3x3, StarReLU": {"mixer": "pool", "pool_size": 3, "activation": "star_relu"},
    "pool 3x3, layer scale": {"mixer": "pool", "pool_size": 3, "layer_scale": 1e-2},
    "narrow identity": {"mixer": "identity", "widths": NARROW},
    "narrow conv 3x3": {"mixer": "conv", "kernel_size": 3, "widths": NARROW},
    "narrow identity, group norm": {"mixer": "identity", "norm": "group", "widths": NARROW},
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=5)
    rounds = arguments.parse_args().rounds
    torch.set_num_threads(1)
    recipes = {
        "bf16, channels last": Recipe(image_size=64, precision="bf16"),
        "float32, NCHW": Recipe(image_size=64, precision="float32", channels_last=False),
    }
    for title, recipe in recipes.items():
        best = {(name, plain): 0.0 for name in NETWORKS for plain in (False, True)}
        for _ in range(rounds):
            for name, plain in best:
                with torchs_own() if plain else ours():
                    best[name, plain] = max(best[name, plain], images_per_second(NETWORKS[name], recipe))
        show(title, best)


def show(title: str, best: dict[tuple[str, bool], float]) -> None:
    """Print one table of images per CPU-second."""
    table = Table(title=f"{title}: images per CPU-second", title_justify="left", box=None, pad_edge=False)
    for column in ("token mixer", "ours", "torch's own", "ratio"):
        table.add_column(column, justify="left" if column == "token mixer" else "right")
    for name in NETWORKS:
        fast, plain = best[name, False], best[name, True]
        table.add_row(name, f"{fast:,.0f}", f"{plain:,.0f}", f"{fast / plain:.2f}")
    Console().print(table)


def images_per_second(network: dict, recipe: Recipe) -> float:
    """Training steps on one batch, the first left out."""
    torch.manual_seed(0)
    mixer = {"activation": "gelu", **network}
    widths = mixer.pop("widths", WIDTHS)
    stages = [Stage(depth=d, width=w, **mixer) for d, w in zip(DEPTHS, widths, strict=True)]
    model = build(Architecture(stages=stages), image_size=64, num_classes=20).train()
    model = model.to(memory_format=torch.channels_last if recipe.channels_last else torch.contiguous_format)
    steps, pixels = optimizer(model, recipe), torch.randint(0, 256, (BATCH, 64, 64, 3), dtype=torch.uint8)
    labels = torch.randint(0, 20, (BATCH,))
    for number in range(STEPS + 1):
        if number == 1:
            began = time.process_time()
        with autocast(torch.device("cpu"), recipe):
            loss = F.cross_entropy(model(normalised(pixels, channels_last=recipe.channels_last)).float(), labels)
        steps.zero_grad()
        loss.backward()
        steps.step()
    return STEPS * BATCH / (time.process_time() - began)


@contextmanager
def ours():
    """The operators as they are."""
    yield


@contextmanager
def torchs_own():
    """Torch's operators in the place of ours."""
    kept = {(room, name): getattr(room, name) for room, name in PLAIN}
    for (room, name), plain in PLAIN.items():
        setattr(room, name, plain)
    try:
        yield
    finally:
        for (room, name), operator in kept.items():
            setattr(room, name, operator)


if __name__ == "__main__":
    main()
