"""Trains what the simulator replays: every architecture of digits.yaml, one row each; or short schedules beside the long one.

python experiments/searchers/digits.py table --seeds 3 --out experiments/searchers/digits.csv    # continues what --out holds
python experiments/searchers/digits.py table --set proxy.data=tiny-imagenet-50 --set proxy.classes=10 \
    --set proxy.images_per_class=144 --set proxy.flip=true --out experiments/searchers/photos.csv
python experiments/searchers/digits.py schedules --out experiments/searchers/schedules.csv
"""

import argparse
import random
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pandas as pd
import torch

from nas.data.draw import make_manifest
from nas.run.settings.search import Search, read_search
from nas.space.architecture import Architecture
from nas.space.constraints import random_architecture
from nas.training.proxy import train_proxy

SPACE = Path(__file__).with_name("digits.yaml")
SHORT = (1, 2)  # epochs of a rung
LONG = 12  # epochs that stand for the full training, with another seed
SAMPLE = 40  # architectures for which the schedules are compared


def architectures(search: Search) -> Iterator[tuple[str, Architecture]]:
    """Every architecture of the space, and its choices as one digit each."""
    axes = search.space.axes
    for digits in product(*(range(len(options)) for options in axes.values())):
        chosen = {name: options[digit] for (name, options), digit in zip(axes.items(), digits, strict=True)}
        yield "".join(map(str, digits)), search.space.draw(lambda name, options, chosen=chosen: chosen[name])


def table(search: Search, *, seeds: int, done: set[tuple[int, str]]) -> Iterator[dict]:
    """A row a seed and architecture that is not `done`: choices, costs, and what each epoch shows (accuracy in percent)."""
    manifest = make_manifest(search.proxy, seed=0)
    for seed, (arch, architecture) in product(range(seeds), list(architectures(search))):
        if (seed, arch) in done:
            continue
        cost, row = search.space.cost(architecture), {"seed": seed, "arch": arch}
        row |= {"macs": cost.macs, "params": cost.params}
        for epoch in train_proxy(architecture, search.proxy, manifest, seed=seed).curve:
            shown = {"accuracy": 100 * epoch.accuracy, "loss": epoch.loss, "train_loss": epoch.train_loss}
            row |= {f"{name}{epoch.epoch}": round(value, 4) for name, value in shown.items()}
        yield row


def schedules(search: Search) -> Iterator[dict]:
    """A row an architecture: accuracy after so many epochs of one schedule, of complete short ones, and of a long one."""
    manifest, rng = make_manifest(search.proxy, seed=0), random.Random(0)
    for _ in range(SAMPLE):
        architecture = random_architecture(search.space, rng)

        def curve(epochs: int, seed: int = 0, architecture: Architecture = architecture) -> list[float]:
            recipe = search.proxy.model_copy(update={"epochs": epochs, "rungs": (), "warmup_epochs": min(1.0, epochs / 4)})
            return [e.accuracy for e in train_proxy(architecture, recipe, manifest, seed=seed).curve]

        whole = curve(search.proxy.epochs)
        stages = {f"stage{e}": whole[e - 1] for e in SHORT}
        complete = {f"complete{e}": curve(e)[-1] for e in SHORT}
        yield {"key": architecture.key, **stages, **complete, "whole": whole[-1], "long": curve(LONG, seed=1)[-1]}


def main() -> None:
    """Train and write the rows as CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("table", "schedules"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=1, help="of the table")
    parser.add_argument("--set", dest="settings", action="append", default=[], help="A.B=VALUE laid over digits.yaml")
    given = parser.parse_args()
    search = read_search(SPACE, settings=given.settings)
    torch.set_num_threads(1)
    if given.what == "table":
        before = pd.read_csv(given.out, dtype={"arch": str}) if given.out.exists() else pd.DataFrame(columns=["seed", "arch"])
        done = set(before[["seed", "arch"]].itertuples(index=False, name=None))
        for row in table(search, seeds=given.seeds, done=done):
            pd.DataFrame([row]).to_csv(given.out, mode="a", index=False, header=not given.out.exists())
        return
    rows = pd.DataFrame(schedules(search))
    rows.to_csv(given.out, index=False)
    print(rows.drop(columns="key").corr("kendall").loc[:, ["whole", "long"]].round(3).to_string())


if __name__ == "__main__":
    main()
