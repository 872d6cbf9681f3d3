"""Whole searches in seconds: tables of trained networks stand in for the trainings.

export NAS_TABLES=DATA_FOLDER/nas_tables
python experiments/searchers/simulate.py --out results.csv --plot results.png
"""

import argparse
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
from drawing import draw
from searchers import SEARCHERS, Event
from tables import PARTS, TABLES, WITH_LATENCY, Table, read_table

MARKS = (5, 10, 15, 20, 25, 30, 40, 50, 60, 80, 100, 125, 150, 200)  # where the hypervolume is put down
SHOWN = (25, 50, 100, 200)
SHARES = (0.90, 0.95, 0.99)  # of the hypervolume: what was spent until they were reached is told
TWO_FIDELITIES = ("front-rungs", "mo-asha")
OF_DIGITS = ("front-references",)  # need a space of ours
LIMITS = {"gp": (50, 5)}  # trainings and seeds of what takes minutes
KEYS = ["table", "searcher", "seed"]


def events(table: Table, name: str, seed: int, budget: float) -> Iterator[Event]:
    """What one search does until its budget of full trainings is spent."""
    total = 0.0
    for event in SEARCHERS[name](table, seed):
        total += event.cost
        if total > budget + 1e-9:
            return
        yield event


def measured(name: str, searcher: str, seed: int, budget: float) -> dict[str, float]:
    """The row of one search: hypervolume by what was spent and by whole trainings."""
    table, begun = read_table(name), time.perf_counter()
    happened = list(events(table, searcher, seed, budget))
    seconds = (time.perf_counter() - begun) / len(happened)
    points, curve, cost = [], [], 0.0  # curve: (cost, whole trainings, hypervolume)
    for event in happened:
        cost += event.cost
        if event.is_whole:
            points.append(table.objectives[event.arch])
            curve.append((cost, len(points), table.volume(points)))
    row = {"table": name, "searcher": searcher, "seed": seed}
    for axis, what in enumerate(("cost", "trained")):
        reached = [max((c[2] for c in curve if c[axis] <= mark + 1e-9), default=0.0) for mark in MARKS]
        top = budget if what == "cost" else len(points)
        row |= {f"{what}{m}": round(v, 5) if m <= top else math.nan for m, v in zip(MARKS, reached, strict=True)}
    return {**row, "seconds": round(seconds, 4)}


def wanted(given: argparse.Namespace) -> Iterator[tuple[str, str, int, float]]:
    """Table, searcher, seed and budget of each search that was asked for and can be run."""
    for table in given.tables:
        for searcher in given.searchers:
            if (searcher in TWO_FIDELITIES and not read_table(table).rung) or (searcher in OF_DIGITS and table != "digits"):
                continue
            budget, seeds = LIMITS.get(searcher, (given.budget, given.seeds))
            for seed in range(given.first_seed, given.first_seed + min(seeds, given.seeds)):
                yield table, searcher, seed, min(budget, given.budget)


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard error over the seeds by what was spent; the median of what was spent until a share was reached."""
    by = rows.groupby(["table", "searcher"], sort=False)
    told = {m: by[f"cost{m}"].mean().map("{:.3f}".format) + " ± " + by[f"cost{m}"].sem().map("{:.3f}".format) for m in SHOWN}
    to = {
        f"to {share:.0%}": rows.apply(spent_until, axis=1, share=share).groupby([rows.table, rows.searcher]).median()
        for share in SHARES
    }
    last = {"seeds": by.size(), "ms": (1000 * by["seconds"].mean()).round(1)}
    return pd.DataFrame({**told, **to, **last})


def spent_until(row: pd.Series, *, share: float) -> float:
    """Full trainings spent until a search had this share of the hypervolume, in a line between marks; infinite where it ended
    before."""
    volumes = row[[f"cost{mark}" for mark in MARKS]].to_numpy(float)
    above = np.flatnonzero(volumes >= share)
    if not len(above):
        return math.inf
    last = above[0]
    return float(np.interp(share, volumes[last - 1 : last + 1], MARKS[last - 1 : last + 1])) if last else float(MARKS[0])


def main() -> None:
    """Run every search that --out does not hold yet, write the rows as CSV, draw them and print their summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", nargs="+", choices=[*TABLES, *WITH_LATENCY, *PARTS], default=TABLES)
    parser.add_argument("--searchers", nargs="+", choices=SEARCHERS, default=list(SEARCHERS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=100)
    parser.add_argument("--budget", type=float, default=200, help="in full trainings")
    parser.add_argument("--out", type=Path, required=True, help="CSV; the searches that it holds are not run again")
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rows = pd.read_csv(given.out) if given.out.exists() else pd.DataFrame(columns=KEYS)
    done = set(rows[KEYS].itertuples(index=False, name=None))
    for table, searcher, seed, budget in wanted(given):
        if (table, searcher, seed) not in done:
            row = measured(table, searcher, seed, budget)
            rows = pd.concat([rows, pd.DataFrame([row])], ignore_index=True)
            rows.to_csv(given.out, index=False)
    print(summary(rows).to_string())
    if given.plot:
        draw(rows, MARKS, given.plot)


if __name__ == "__main__":
    main()
