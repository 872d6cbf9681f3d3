"""Which designs survive int8: choices of mixer, norm, activation and scale at equal MACs, and what int8 costs each.

    python experiments/int8/survival.py --out experiments/int8/survival.csv

Networks of four stages, 40 M MACs at 224 px, are trained as `search_spaces/hybrid.yaml` trains, with three seeds, and quantised
with nothing kept in float: products alone, then sums, scales and activations as well. Started again it goes on where it was.
"""

import argparse
import csv
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch

from nas.data.draw import make_manifest
from nas.data.manifest import Manifest
from nas.export.formats.table import write_formats
from nas.models.reparam import merge
from nas.quantization.images import shown_images
from nas.quantization.quantise import Int8Plan, quantise_file
from nas.recipes.as_trained import as_trained
from nas.recipes.recipe import Proxy
from nas.run.settings.search import read_search
from nas.space.architecture import Architecture, Stage
from nas.space.cost import cost
from nas.training.proxy import train_proxy
from nas.training.trained import own_network

MACS = 40e6
COMMON = {"norm": "layer", "activation": "star_relu", "mlp_ratio": 4}
LATE = ("attention", "random", "spatial_fc")  # mixers of the two last stages, behind pooling
COLUMNS = ("group", "choice", "seed", "operators", "macs", "accuracy", "points_lost", "agreement")
CALIBRATION = 128


def variants() -> Iterator[tuple[str, str, Architecture]]:
    """Group, choice and network: mixers, and an attention network with one other choice."""
    for mixer in ("pool", "identity", "conv", "dwconv", *LATE):
        yield "mixer", mixer, at_macs(mixer=mixer)
    for norm in ("group", "batch", "none"):
        yield "norm", norm, at_macs(mixer="attention", norm=norm)
    for activation in ("gelu", "relu", "squared_relu"):
        yield "activation", activation, at_macs(mixer="attention", activation=activation)
    yield "scale", "layer_scale", at_macs(mixer="attention", layer_scale=0.1)
    yield "scale", "res_scale", at_macs(mixer="attention", res_scale=True)


def at_macs(*, mixer: str, **changes: object) -> Architecture:
    """The network of these choices whose width brings it nearest to MACS."""
    able = [_network(mixer, width, changes) for width in range(4, 65, 4 if mixer == "attention" else 1)]  # heads of 16
    return min(able, key=lambda a: abs(cost(a, image_size=224, num_classes=1000).macs - MACS))


def _network(mixer: str, width: int, changes: dict[str, object]) -> Architecture:
    mixers = ["pool", "pool", mixer, mixer] if mixer in LATE else [mixer] * 4
    stages = [
        Stage(
            mixer=m,
            depth=depth,
            width=width * factor,
            **{**COMMON, **changes, **({"head_dim": 16} if m == "attention" else {})},
        )
        for m, depth, factor in zip(mixers, (1, 1, 3, 1), (1, 2, 4, 8), strict=True)
    ]
    return Architecture(stages=tuple(stages))


def measured(architecture: Architecture, recipe: Proxy, manifest: Manifest, seed: int) -> Iterator[dict[str, object]]:
    """A training, then a row for each set of operators in int8."""
    with tempfile.TemporaryDirectory() as scratch:
        weights = Path(scratch) / "weights.safetensors"
        outcome = train_proxy(architecture, recipe, manifest, seed=seed, weights=weights)
        if outcome.accuracy is None:
            raise SystemExit(f"{architecture.describe()}, seed {seed}: {outcome.cause}")
        size, trained = recipe.full_size, as_trained(architecture, recipe)
        network, _ = merge(own_network(trained, weights, image_size=size), trained)
        shown = shown_images(manifest, recipe, image_size=size, number=CALIBRATION)
        write_formats(network, ["onnx"], Path(scratch), image_size=size)
        for every in (False, True):
            made = quantise_file(Path(scratch), shown, Int8Plan(most_changed=1.0, every_operator=every))
            lost, agreement = f"{made.points_lost:.3f}", f"{made.agreement:.4f}"
            operators = "all" if every else "products"
            yield {"operators": operators, "accuracy": f"{made.accuracy:.4f}", "points_lost": lost, "agreement": agreement}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    recipe = read_search("hybrid").proxy
    manifest = make_manifest(recipe, seed=0)
    done = set()
    if arguments.out.is_file():
        with arguments.out.open() as file:
            done = {(row["group"], row["choice"], row["seed"]) for row in csv.DictReader(file)}
    with arguments.out.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if not done:
            writer.writeheader()
        count = partial(cost, image_size=224, num_classes=1000)
        for seed in range(arguments.seeds):
            for group, choice, architecture in variants():
                if (group, choice, str(seed)) in done:
                    continue
                head = {"group": group, "choice": choice, "seed": seed, "macs": count(architecture).macs}
                rows = [{**head, **row} for row in measured(architecture, recipe, manifest, seed)]
                writer.writerows(rows)  # both at once, so that a killed run leaves none half done
                file.flush()


if __name__ == "__main__":
    main()
