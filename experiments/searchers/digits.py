"""Trains what the simulator replays: every architecture of digits.yaml, one row each; or short schedules beside the long one.

python experiments/searchers/digits.py table --out experiments/searchers/digits.csv
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
from nas.run.settings import Search, read_search
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


def table(search: Search) -> Iterator[dict]:
    """A row an architecture: its choices, MACs, and accuracy and loss in percent after the rung and at the end."""
    manifest, rung = make_manifest(search.proxy, seed=0), search.proxy.rungs[0]
    for arch, architecture in architectures(search):
        curve = train_proxy(architecture, search.proxy, manifest, seed=0).curve
        early, last = curve[rung - 1], curve[-1]
        cost = search.space.cost(architecture)
        told = {"acc": 100 * last.accuracy, "acc_rung": 100 * early.accuracy, "loss_rung": early.train_loss}
        yield {"arch": arch, "macs": cost.macs, "params": cost.params, **{n: round(v, 4) for n, v in told.items()}}


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
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = pd.DataFrame({"table": table, "schedules": schedules}[given.what](read_search(SPACE)))
    rows.to_csv(given.out, index=False)
    if given.what == "schedules":
        print(rows.drop(columns="key").corr("kendall").loc[:, ["whole", "long"]].round(3).to_string())


if __name__ == "__main__":
    main()
