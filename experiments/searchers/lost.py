"""What waiting at a rung costs and saves where it is foreseen perfectly: the rung shows how each training will end.

export NAS_TABLES=DATA_FOLDER/nas_tables
python experiments/searchers/lost.py --seeds 10 --first-seed 1000

Of all networks that reached the rung, those that no other one beats in error and cost are the true front. Lost are those of it
that still wait when the search ends; saved are the trainings that were not carried to their end.
"""

import argparse

import numpy as np
import optuna
import pandas as pd
from searchers import front_rungs
from tables import Table, read_table

from nas.pareto import pareto

SEARCHED = ("201-cifar10", "201-cifar100", "digits")  # tables with a rung
TRIALS = 200  # of one search


def foreseen(table: Table) -> Table:
    """The table with a rung that shows the final accuracy."""
    return table._replace(rung={arch: (100 - error,) for arch, (error, *_) in table.objectives.items()})


def search(name: str, seed: int) -> dict[str, float | str]:
    """The shares of one search's true front, of its cheapest third, and of the trainings."""
    table, shown, whole = foreseen(read_table(name)), set[str](), set[str]()
    for event in front_rungs(table, seed, trials=TRIALS):
        (whole if event.is_whole else shown).add(event.arch)
    points = np.unique([table.objectives[arch] for arch in shown], axis=0)  # equal ones stand for each other
    front = sorted(map(tuple, points[pareto(points)].tolist()), key=lambda point: point[1])
    lost = [point not in {table.objectives[arch] for arch in whole} for point in front]
    cheap = lost[: max(1, len(front) // 3)]
    return {
        "table": name,
        "seed": seed,
        "front": len(front),
        "lost": float(np.mean(lost)),
        "lost_of_cheapest_third": float(np.mean(cheap)),
        "saved": 1 - len(whole) / len(shown),
    }


def main() -> None:
    """Run the searches; print means and standard errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=1000)
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    rows = pd.DataFrame([search(name, seed) for name in SEARCHED for seed in seeds])
    print(rows.groupby("table")[["front", "lost", "lost_of_cheapest_third", "saved"]].agg(["mean", "sem"]).round(3).to_string())


if __name__ == "__main__":
    main()
