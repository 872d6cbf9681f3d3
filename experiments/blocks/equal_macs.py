"""Whether each further block helps at equal MACs: base networks with one switched on, widths taken back to the same cost.

    python experiments/blocks/equal_macs.py --data DIR --out experiments/blocks/equal_macs.csv
    python experiments/blocks/equal_macs.py --out experiments/blocks/equal_macs.csv --table

DIR holds fifty classes of Tiny ImageNet (64 px). A row is written the moment a training ends; started again it goes on where
it was.
"""

import argparse
import csv
import multiprocessing
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import product
from math import log
from pathlib import Path
from statistics import mean, stdev
from typing import NamedTuple

import torch
from scipy.stats import t as student

from nas.data.draw import make_manifest
from nas.data.manifest import AnyManifest
from nas.recipes.recipe import Proxy
from nas.space.architecture import Architecture, Stage
from nas.space.cost import cost
from nas.training.proxy import train_proxy

IMAGE_SIZE, CLASSES = 64, 50
DEPTHS, WIDTHS, STEPS = (1, 1, 2, 1), (8, 16, 40, 64), (1, 2, 8, 8)  # 1:2:5:8, as in PoolFormer; heads of 8 channels
SLACK = 0.01  # of the MACs
BASES = {"pool": ("pool",) * 4, "caformer": ("conv", "conv", "attention", "attention")}
LATE = ("linear_attention",) * 2  # in the place of the last two stages' mixers
COLUMNS = ("base", "variant", "seed", "design", "macs", "params", "accuracy", "loss", "seconds")


class Variant(NamedTuple):
    """What is switched on: settings of every stage, of the network, or the mixers of the last stages."""

    stage: dict[str, object]
    network: dict[str, object]
    late: tuple[str, ...] = ()


VARIANTS = {
    "base": Variant({}, {}),
    "mlp: conv": Variant({"mlp": "conv"}, {}),
    "se_ratio: 0.25": Variant({"se_ratio": 0.25}, {}),
    "linear_attention": Variant({}, {}, LATE),
    "stem_steps: 2": Variant({}, {"stem_steps": 2}),
}


class Training(NamedTuple):
    """One training to do."""

    base: str
    variant: str
    seed: int
    architecture: Architecture

    @property
    def name(self) -> tuple[str, str, str]:
        """Its first columns."""
        return self.base, self.variant, str(self.seed)


def network(base: str, variant: str, widths: tuple[int, ...]) -> Architecture:
    """The base with a variant switched on; stage 3 and 4 have ResScale, as in MetaFormer Baselines."""
    chosen, mixers = VARIANTS[variant], BASES[base]
    mixers = (*mixers[: len(mixers) - len(chosen.late)], *chosen.late)
    stages = tuple(
        Stage(mixer=mixer, depth=depth, width=width, head_dim=8, res_scale=i >= 2, **chosen.stage)
        for i, (mixer, depth, width) in enumerate(zip(mixers, DEPTHS, widths, strict=True))
    )
    return Architecture(stages=stages, **chosen.network)  # maps of 16, 8, 4 and 2 px


def macs(architecture: Architecture) -> int:
    """At the size and number of classes that it is trained with."""
    return cost(architecture, image_size=IMAGE_SIZE, num_classes=CLASSES).macs


def at_equal_macs(base: str, variant: str) -> Architecture:
    """The variant whose MACs are those of its base, of widths as near as can be to one common factor."""
    wanted = macs(network(base, "base", WIDTHS))
    around = [[width + n * step for n in range(-3, 4) if n * step > -width] for width, step in zip(WIDTHS, STEPS, strict=True)]
    able = [widths for widths in product(*around) if abs(macs(network(base, variant, widths)) / wanted - 1) <= SLACK]
    return network(base, variant, min(able, key=_unevenness))


def _unevenness(widths: tuple[int, ...]) -> float:
    stretches = [log(width / usual) for width, usual in zip(widths, WIDTHS, strict=True)]
    return sum((stretch - mean(stretches)) ** 2 for stretch in stretches)


def trainings(seeds: int) -> Iterator[Training]:
    """All of them, seed by seed, so that whatever has been done is whole rounds."""
    networks = {(base, variant): at_equal_macs(base, variant) for base in BASES for variant in VARIANTS}
    for seed in range(seeds):
        for (base, variant), architecture in networks.items():
            yield Training(base, variant, seed, architecture)


def recipe(data: str, epochs: int) -> Proxy:
    """6,000 images to learn from and 3,000 to judge by."""
    return Proxy(
        data=data, classes=CLASSES, images_per_class=180, validation_share=1 / 3, image_size=IMAGE_SIZE, epochs=epochs,
        crop_padding=8, flip=True,
    )  # fmt: skip


def train(training: Training, proxy: Proxy, manifest: AnyManifest) -> dict[str, object]:
    """A row of the table."""
    torch.set_num_threads(1)
    outcome = train_proxy(training.architecture, proxy, manifest, seed=training.seed)
    if outcome.accuracy is None:
        raise SystemExit(f"{training.name}: {outcome.cause}")
    counted = cost(training.architecture, image_size=IMAGE_SIZE, num_classes=CLASSES)
    return dict(zip(COLUMNS, (
        *training.name, training.architecture.describe(), counted.macs, counted.params, f"{outcome.accuracy:.4f}",
        f"{outcome.curve[-1].loss:.4f}", f"{outcome.seconds:.1f}",
    ), strict=True))  # fmt: skip


def rows_of(path: Path) -> list[dict[str, str]]:
    """What has been done."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def train_all(path: Path, proxy: Proxy, *, seeds: int, workers: int) -> None:
    """Every training that the file lacks, one a process."""
    done = {(row["base"], row["variant"], row["seed"]) for row in rows_of(path)}
    manifest = make_manifest(proxy, seed=0)
    waiting = [training for training in trainings(seeds) if training.name not in done]
    with path.open("a", newline="") as file, ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        writer = csv.DictWriter(file, COLUMNS)
        if not done:
            writer.writeheader()
        for future in as_completed([pool.submit(train, training, proxy, manifest) for training in waiting]):
            row = future.result()
            writer.writerow(row)
            file.flush()
            print(row["base"], row["variant"], row["seed"], row["accuracy"], f"{row['seconds']} s", flush=True)


def table(rows: list[dict[str, str]]) -> Iterator[str]:
    """In Markdown: each variant's accuracy, and its differences from the base of the same seed with 95 % intervals."""
    yield "| base | variant | network | MACs | params | seeds | top-1 | points over the base | loss over the base |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for base, variant in product(BASES, VARIANTS):
        own = {row["seed"]: row for row in rows if (row["base"], row["variant"]) == (base, variant)}
        plain = {row["seed"]: row for row in rows if (row["base"], row["variant"]) == (base, "base")}
        if not own:
            continue
        first, pairs = next(iter(own.values())), [(own[seed], plain[seed]) for seed in own if seed in plain]
        gains = [100 * (float(a["accuracy"]) - float(b["accuracy"])) for a, b in pairs]
        losses = [float(a["loss"]) - float(b["loss"]) for a, b in pairs]
        cells = [
            base, variant, first["design"], f"{int(first['macs']) / 1e6:.2f} M", f"{int(first['params']) / 1e3:.0f} k",
            str(len(own)), f"{100 * mean(float(row['accuracy']) for row in own.values()):.1f} %",
            *(("", "") if variant == "base" else (_with_interval(gains, 1), _with_interval(losses, 3))),
        ]  # fmt: skip
        yield f"| {' | '.join(cells)} |"


def _with_interval(values: list[float], digits: int) -> str:
    if len(values) < 2:
        return f"{mean(values):+.{digits}f}" if values else ""
    half = float(student.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5
    return f"{mean(values):+.{digits}f} ± {half:.{digits}f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="print what has been trained, train nothing")
    asked = parser.parse_args()
    if asked.table:
        print("\n".join(table(rows_of(asked.out))))
    elif asked.data:
        train_all(asked.out, recipe(asked.data, asked.epochs), seeds=asked.seeds, workers=asked.workers)
    else:
        sys.exit("--data DIR is needed to train; --table shows what was trained")


if __name__ == "__main__":
    main()
