"""Searches that stop when flat, learn from other runs or are told a belief, on the tables of simulate.py.

export NAS_TABLES=DATA_FOLDER/nas_tables
python experiments/searchers/remember.py stop --seeds 20 --out stop.csv
python experiments/searchers/remember.py learn --seeds 10 --out learn.csv

A search that the CSV already holds is not run again.
"""

import argparse
import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
from tables import TABLES, Table, read_table

from nas.run.settings import StopRule
from nas.search.samplers.front import FrontSampler
from nas.search.samplers.history import History, Observation, Related
from nas.search.samplers.outlook import expected_raise, recent_raise

Row = dict[str, float | str]
RULE = StopRule()
BUDGET = 200  # trainings of a search that nothing stops
CHECKED_EVERY = 20  # trainings after which what is expected is put down beside what comes
PAIRS = (("201-cifar10", "201-cifar100"), ("201-cifar100", "201-cifar10"), ("digits", "photos"), ("photos", "digits"))
OLD_TRAININGS = 100  # of the run that is learnt from
OLD_SEEDS = 5_000  # added to the seed of a search, for the run that it learns from
SHARES = (0.9, 0.95)


class Walk:
    """A search by FrontSampler over a table, training by training."""

    def __init__(self, table: Table, seed: int, *, related: tuple[Related, ...] = ()):
        self.table, self.seed, self.points, self.volumes = table, seed, [], []
        self.history = History(table.space, table.cost, related=related)
        sampler = FrontSampler(self.history, seed=seed)
        self._study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)

    def train(self) -> None:
        """One more training."""
        trial = self._study.ask()
        params = {name: trial.suggest_categorical(name, axis.choices) for name, axis in self.table.space.items()}
        error, macs = self.table.objectives[self.table.arch(params)]
        self._study.tell(trial, [100 - error, macs])
        self.points.append((error, macs))
        self.volumes.append(self.table.volume(self.points))

    @property
    def observations(self) -> list[Observation]:
        """What the sampler knows."""
        return self.history.observations(self._study.get_trials(deepcopy=False))

    def until(self, share: float) -> float:
        """Trainings until this share of the hypervolume was reached."""
        reached = [number for number, volume in enumerate(self.volumes, start=1) if volume >= share]
        return reached[0] if reached else math.inf

    def found(self) -> Related:
        """What another search learns from this one."""
        values = tuple(100 - error for error, _ in self.points)
        params = tuple(trial.params for trial in self._study.get_trials(deepcopy=False))
        return Related(params, tuple((self.table.cost(point),) for point in params), values)


def stop(name: str, seed: int) -> Iterator[Row]:
    """One search to its whole budget, and where the rule would have ended it."""
    walk, stopped, foretold = Walk(read_table(name), seed), 0, {}
    while len(walk.volumes) < BUDGET:
        walk.train()
        number = len(walk.volumes)
        is_checked, recent = number % CHECKED_EVERY == 0, recent_raise(walk.observations, trainings=RULE.within)
        may_stop = not stopped and recent is not None and recent < RULE.gain
        if is_checked or may_stop:
            expected = expected_raise(walk.observations, walk.history, trainings=RULE.within, seed=seed)
            if expected is not None and is_checked:
                foretold[number] = expected
            if may_stop and expected is not None and expected < RULE.gain:
                stopped = number
    last, at = walk.volumes[-1], stopped or BUDGET
    row: Row = {"table": name, "seed": seed, "trained": at, "lost": round(1 - walk.volumes[at - 1] / last, 5)}
    for number, expected in foretold.items():
        after = walk.volumes[min(number + RULE.within, BUDGET) - 1]
        row |= {f"expected{number}": round(expected, 5), f"came{number}": round(after / walk.volumes[number - 1] - 1, 5)}
    yield row


@cache
def old_run(name: str, seed: int) -> Related:
    """What an earlier search of a table found."""
    walk = Walk(read_table(name), seed + OLD_SEEDS)
    for _ in range(OLD_TRAININGS):
        walk.train()
    return walk.found()


def lessons(source: str, target: str, seed: int) -> dict[str, tuple[Related, ...]]:
    """What a search of `target` may learn from: nothing, a run of `source`, the same with its values shuffled, or turned over;
    and random networks with values at random, which say nothing at all."""
    old, table, rng = old_run(source, seed), read_table(target), np.random.default_rng(seed)
    own = old._replace(costs=tuple((table.cost(point),) for point in old.params))
    axes = History(table.space, table.cost).domain.axes
    drawn = tuple(axes.draw(rng) for _ in old.params)
    values = tuple(map(float, rng.permutation(own.values)))
    return {
        "none": (),
        "learnt": (own,),
        "shuffled": (own._replace(values=values),),
        "turned over": (own._replace(values=tuple(-value for value in own.values)),),
        "random": (Related(drawn, tuple((table.cost(point),) for point in drawn), values),),
    }


def learn(source: str, target: str, seed: int) -> Iterator[Row]:
    """One search for each way of learning."""
    for way, related in lessons(source, target, seed).items():
        walk = Walk(read_table(target), seed, related=related)
        while len(walk.volumes) < BUDGET and walk.until(SHARES[-1]) > BUDGET:
            walk.train()
        row: Row = {"source": source, "table": target, "way": way, "seed": seed}
        yield row | {f"to{share:.0%}": walk.until(share) for share in SHARES}


def show(what: str, rows: pd.DataFrame) -> None:
    """Means and standard errors over the seeds."""
    if what == "stop":
        rows["saved"] = 1 - rows["trained"] / BUDGET
        print(rows.groupby("table")[["trained", "saved", "lost"]].agg(["mean", "sem"]).round(4).to_string())
        print(rows[["trained", "saved", "lost"]].agg(["mean", "sem"]).round(4).to_string())
        marks = [column.removeprefix("expected") for column in rows if column.startswith("expected")]
        for mark in marks:
            if int(mark) + RULE.within <= BUDGET:
                pair = rows[[f"expected{mark}", f"came{mark}"]].mean()
                print(f"after {mark}: expected {pair.iloc[0]:.4f}, came {pair.iloc[1]:.4f}")
        return
    columns = [f"to{share:.0%}" for share in SHARES]
    rows[columns] = rows[columns].clip(upper=BUDGET)
    keys = [name for name in ("source", "table", "way") if name in rows]
    print(rows.groupby(keys, sort=False)[columns].agg(["median", "mean", "sem", "count"]).round(1).to_string())


def main() -> None:
    """Run every search that --out does not hold yet, write the rows as CSV and print their summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("stop", "learn"))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=900)
    parser.add_argument("--tables", nargs="+", default=list(TABLES))
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rows = pd.read_csv(given.out) if given.out.exists() else pd.DataFrame(columns=["table", "source", "seed"])
    for seed in range(given.first_seed, given.first_seed + given.seeds):
        tasks = (
            [(name,) for name in given.tables] if given.what == "stop" else [p for p in PAIRS if set(p) <= set(given.tables)]
        )
        for task in tasks:
            done = rows[(rows["seed"] == seed) & (rows["table"] == task[-1])]
            if len(done if given.what == "stop" else done[done["source"] == task[0]]):
                continue
            new = stop(task[0], seed) if given.what == "stop" else learn(*task, seed)
            rows = pd.concat([rows.dropna(axis=1, how="all"), pd.DataFrame(list(new))], ignore_index=True)
            rows.to_csv(given.out, index=False)
    show(given.what, rows)


if __name__ == "__main__":
    main()
