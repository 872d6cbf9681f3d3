"""Whole searches in seconds: a public table of trained networks stands in for the trainings.

python experiments/searchers/simulate.py --table macro --samplers front tpe random --seeds 10 --out macro.csv
"""

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import CategoricalDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler

from nas.search.front_sampler import FrontSampler
from nas.search.pareto import hypervolume, pareto

TABLES = Path(os.environ.get("NAS_TABLES", "nas_tables"))
MARKS = (25, 50, 100, 200)  # evaluations at which the hypervolume is put down
ASKS = 20  # questions an evaluation: a search that only repeats itself ends there

SOURCES = {  # file, column of the accuracy in percent, column of the MACs
    "macro": ("nas_bench_macro_cifar10.csv", "acc", "macs"),
    "201-cifar10": ("nas_bench_201_cifar.csv", "cifar10_test_200ep", "macs_m"),
    "201-cifar100": ("nas_bench_201_cifar.csv", "cifar100_test_200ep", "macs_m"),
}


class Table(NamedTuple):
    """Error and MACs by architecture, and the true front's ideal and nadir."""

    objectives: dict[str, tuple[float, float]]
    space: dict[str, CategoricalDistribution]
    ideal: np.ndarray
    nadir: np.ndarray
    best: float

    def cost(self, params: dict[str, str]) -> float:
        """MACs, known before the training."""
        return self.objectives["".join(params[n] for n in self.space)][1]

    def volume(self, points: list[tuple[float, float]]) -> float:
        """Hypervolume as a share of the true front's."""
        return _volume(np.array(points), self.ideal, self.nadir) / self.best


def _volume(points: np.ndarray, ideal: np.ndarray, nadir: np.ndarray) -> float:
    front = points[pareto(points)]
    return hypervolume((front - ideal) / (nadir - ideal), (1.1, 1.1))


def read_table(name: str) -> Table:
    """A table by its name in SOURCES."""
    file, accuracy, macs = SOURCES[name]
    if not (TABLES / file).is_file():
        raise SystemExit(f"{TABLES / file} is missing; set NAS_TABLES to the folder that holds it")
    rows = pd.read_csv(TABLES / file, dtype={"arch": str})
    points = np.column_stack([100 - rows[accuracy], rows[macs]])
    front = points[pareto(points)]
    digits = zip(*rows.arch, strict=True)
    space = {f"choice{i}": CategoricalDistribution(sorted(set(d))) for i, d in enumerate(digits)}
    ideal, nadir = front.min(axis=0), front.max(axis=0)
    objectives = dict(zip(rows.arch, map(tuple, points.tolist()), strict=True))
    return Table(objectives, space, ideal, nadir, _volume(points, ideal, nadir))


SAMPLERS = {
    "random": lambda table, seed: RandomSampler(seed=seed),
    "nsga2-20": lambda table, seed: NSGAIISampler(population_size=20, seed=seed),
    "nsga2-50": lambda table, seed: NSGAIISampler(population_size=50, seed=seed),
    "tpe": lambda table, seed: TPESampler(multivariate=True, seed=seed),
    "front": lambda table, seed: FrontSampler(table.space, table.cost, seed=seed),
}


def search(table: Table, sampler: BaseSampler, evaluations: int) -> Iterator[tuple[float, float]]:
    """Error and MACs of each new network that a search evaluates; repeats are answered and do not count."""
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    seen: set[str] = set()
    for _ in range(ASKS * evaluations):
        trial = study.ask()
        arch = "".join(trial.suggest_categorical(n, d.choices) for n, d in table.space.items())
        error, macs = table.objectives[arch]
        study.tell(trial, [100 - error, macs])
        if arch not in seen:
            seen.add(arch)
            yield error, macs
        if len(seen) == evaluations:
            return


def measured(table: Table, name: str, seed: int, evaluations: int) -> dict[str, float]:
    """The row of one search: hypervolume at each mark, evaluations to 95 % of it and seconds an evaluation."""
    begun = time.perf_counter()
    points = list(search(table, SAMPLERS[name](table, seed), evaluations))
    seconds = (time.perf_counter() - begun) / len(points)
    volumes = [table.volume(points[: i + 1]) for i in range(len(points))]
    to_95 = next((i + 1 for i, v in enumerate(volumes) if v >= 0.95), float("inf"))
    marks = {f"hv{m}": volumes[min(m, len(volumes)) - 1] for m in MARKS if m <= evaluations}
    return {"sampler": name, "seed": seed, **marks, "to_95": to_95, "s_per_evaluation": seconds}


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard error over the seeds, by sampler; of `to_95` the median."""
    volumes = [c for c in rows if c.startswith("hv")]
    by = rows.groupby("sampler", sort=False)
    told = {v: by[v].mean().map("{:.3f}".format) + " ± " + by[v].sem().map("{:.3f}".format) for v in volumes}
    return pd.DataFrame({**told, "to_95": by["to_95"].median(), "s_per_evaluation": by["s_per_evaluation"].mean().round(4)})


def main() -> None:
    """Search a table with each sampler and seed, write the rows as CSV and print their summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", choices=SOURCES, default="macro")
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=list(SAMPLERS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--evaluations", type=int, default=200)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    table = read_table(given.table)
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    rows = pd.DataFrame([measured(table, n, s, given.evaluations) for n in given.samplers for s in seeds])
    if given.out:
        rows.round(5).to_csv(given.out, index=False)
    print(summary(rows).to_string())


if __name__ == "__main__":
    main()
