"""Hypervolume of several samplers at equal trainings: one folder a sampler and seed, one CSV.

python experiments/first_search/compare.py --out runs/first_search --seeds 3
"""

import sys
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from rich.console import Console

from nas.run.folder import read_run
from nas.run.front import front_hypervolume, front_records, reference_costs
from nas.run.reading import read
from nas.run.record import Record
from nas.run.settings.search import Search, read_search
from nas.search.run import run_search

SPACE = Path(__file__).parents[2] / "search_spaces" / "hybrid.yaml"


def volume_after(records: list[Record], settings: Search, trainings: int) -> float:
    """Hypervolume of the front of the first `trainings` architectures that were trained."""
    trained = [r for r in records if r.had_its_chance and not r.baseline]
    best = front_records(trained[:trainings], settings)
    return front_hypervolume(best, settings, reference_costs(settings))


def main(
    out: Annotated[Path, typer.Option(help="Folder of the runs and of volumes.csv.")] = Path("runs/first_search"),
    seeds: Annotated[int, typer.Option(help="Seeds of each sampler.")] = 3,
    samplers: Annotated[list[str], typer.Option(help="Samplers to compare.")] = ["front", "tpe", "random"],  # noqa: B006
) -> None:
    """Run every search that is not in `out` yet, then write and print the table."""
    rows = []
    for seed in range(seeds):
        for sampler in samplers:
            changes = [f"search.sampler={sampler}", f"search.seed={seed}", "baselines=[]", "search.cache=false"]
            folder = run_search(
                read_search(SPACE, settings=changes), root=out / f"{sampler}-{seed}", console=Console(file=sys.stderr)
            )
            _, settings = read_run(folder.root)
            records = read(folder.root).trials
            for trainings in (12, 24, settings.search.trials):
                rows.append((sampler, seed, trainings, volume_after(records, settings, trainings)))
    table = pd.DataFrame(rows, columns=["sampler", "seed", "trainings", "hypervolume"])
    table.to_csv(out / "volumes.csv", index=False)
    print(table.pivot_table(index=["trainings", "seed"], columns="sampler", values="hypervolume").round(4))
    print(table.groupby(["trainings", "sampler"]).hypervolume.agg(["mean", "std"]).round(4))


if __name__ == "__main__":
    typer.run(main)
