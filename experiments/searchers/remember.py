"""Searches that stop when flat, learn from other runs or are told a belief, on public tables and ours.

export NAS_TABLES=DATA_FOLDER/nas_tables
python experiments/searchers/remember.py stop --seeds 20 --first-seed 920 --out stop.csv
python experiments/searchers/remember.py foretell --out foretell.csv
python experiments/searchers/remember.py learn --out learn.csv
python experiments/searchers/remember.py believe --out believe.csv

A search that the CSV already holds is not run again.
"""

import argparse
import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from tables import TABLES, Table, read_table

from nas.pareto import pareto
from nas.run.settings.sections import BELIEFS, StopRule
from nas.search.samplers.axes import Belief
from nas.search.samplers.front import FrontSampler
from nas.search.samplers.history import History, Observation, Related
from nas.search.samplers.outlook import expected_raise, flatness, look_at

Row = dict[str, float | str]
RULE = StopRule()
BUDGET = 200  # trainings of a search that nothing stops
CHECKED_EVERY = 20  # trainings after which what is expected is put down beside what comes
PAIRS = (("201-cifar10", "201-cifar100"), ("201-cifar100", "201-cifar10"), ("digits", "photos"), ("photos", "digits"))
OLD_TRAININGS = 100  # of the run that is learnt from
OLD_SEEDS = 5_000  # added to the seed of a search, for the run that it learns from
SHARES = (0.9, 0.95)
BELIEVED_AXES = 2  # of which something is believed, in one of the ways


class Walk:
    """A search by FrontSampler over a table, training by training."""

    def __init__(self, table: Table, seed: int, **told: Any):
        self.table, self.seed, self.points, self.volumes = table, seed, [], []
        self._study = optuna.create_study(directions=["maximize", "minimize"])
        self.history = History(table.space, table.costs, **told)  # other runs, a belief
        self._study.sampler = FrontSampler(self.history, seed=seed)

    def train(self) -> None:
        """One more training."""
        trial = self._study.ask()
        params = {name: trial.suggest_categorical(name, axis.choices) for name, axis in self.table.space.items()}
        arch = self.table.arch(params)
        error, macs = self.table.objectives[arch]
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
        return Related(params, tuple(map(self.table.costs, params)), values)


def stop(name: str, seed: int) -> Iterator[Row]:
    """One search to its whole budget, and where the rule would have ended it."""
    walk, stopped = Walk(read_table(name), seed), 0
    while len(walk.volumes) < BUDGET:
        walk.train()
        number = len(walk.volumes)
        if not stopped and look_at(number, RULE) == number and flatness(walk.observations, walk.history, RULE, seed=seed):
            stopped = number
    last, at = walk.volumes[-1], stopped or BUDGET
    yield {"table": name, "seed": seed, "trained": at, "lost": round(1 - walk.volumes[at - 1] / last, 5)}


def foretell(name: str, seed: int) -> Iterator[Row]:
    """What the next trainings of one search were expected to gain, now and then, and what came of them."""
    walk, foretold = Walk(read_table(name), seed), {}
    while len(walk.volumes) < BUDGET:
        walk.train()
        number = len(walk.volumes)
        if number % CHECKED_EVERY == 0 and number + RULE.within <= BUDGET:
            foretold[number] = expected_raise(walk.observations, walk.history, trainings=RULE.within, seed=seed) or 0.0
    row: Row = {"table": name, "seed": seed}
    for number, expected in foretold.items():
        came = walk.volumes[number + RULE.within - 1] / walk.volumes[number - 1] - 1
        row |= {f"expected{number}": round(expected, 5), f"came{number}": round(came, 5)}
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
    own = old._replace(costs=tuple(map(table.costs, old.params)))
    axes = History(table.space, table.costs).domain.axes
    drawn = tuple(axes.draw(rng) for _ in old.params)
    values = tuple(map(float, rng.permutation(own.values)))
    return {
        "none": (),
        "learnt": (own,),
        "shuffled": (own._replace(values=values),),
        "turned over": (own._replace(values=tuple(-value for value in own.values)),),
        "random": (Related(drawn, tuple(map(table.costs, drawn)), values),),
    }


def learn(source: str, target: str, seed: int) -> Iterator[Row]:
    """One search for each way of learning."""
    for way, related in lessons(source, target, seed).items():
        walk = Walk(read_table(target), seed, related=related)
        while len(walk.volumes) < BUDGET and walk.until(SHARES[-1]) > BUDGET:
            walk.train()
        row: Row = {"source": source, "table": target, "way": way, "seed": seed}
        yield row | {f"to{share:.0%}": walk.until(share) for share in SHARES}


def beliefs(table: Table, seed: int) -> dict[str, Belief | None]:
    """None; of each axis, or of the two that say most, the option most frequent on the true front as high and the rarest as
    low; the same the wrong way round; and of each axis, or of any two, one option at random as high and another as low."""
    rng = np.random.default_rng(seed)
    names = list(table.objectives)
    front = [names[i] for i in pareto(np.array([table.objectives[name] for name in names]))]
    words: dict[str, dict[str, float]] = {}
    for place, (axis, options) in enumerate(table.space.items()):
        often = {option: sum(name[place] == option for name in front) for option in options.choices}
        words[axis] = {max(often, key=often.__getitem__): BELIEFS["high"], min(often, key=often.__getitem__): BELIEFS["low"]}
    strength = {axis: max(sum(n[i] == o for n in front) for o in words[axis]) for i, axis in enumerate(words)}
    few = {axis: words[axis] for axis in sorted(words, key=lambda axis: -strength[axis])[:BELIEVED_AXES]}
    ways: dict[str, Belief | None] = {"none": None}
    for name, chosen in (("all axes", words), ("two axes", few)):
        turned = {axis: {option: 1 / weight for option, weight in own.items()} for axis, own in chosen.items()}
        at_random = {}
        for axis in rng.choice(list(words), len(chosen), replace=False):
            high, low = rng.choice(len(table.space[axis].choices), 2, replace=False)
            options = table.space[axis].choices
            at_random[str(axis)] = {options[high]: BELIEFS["high"], options[low]: BELIEFS["low"]}
        ways |= {f"right, {name}": Belief(chosen), f"wrong, {name}": Belief(turned), f"random, {name}": Belief(at_random)}
    return ways


def believe(name: str, seed: int) -> Iterator[Row]:
    """One search for each belief."""
    for way, belief in beliefs(read_table(name), seed).items():
        walk = Walk(read_table(name), seed, belief=belief)
        while len(walk.volumes) < BUDGET and walk.until(SHARES[0]) > BUDGET:
            walk.train()
        yield {"table": name, "way": way, "seed": seed, f"to{SHARES[0]:.0%}": walk.until(SHARES[0])}


def show(what: str, rows: pd.DataFrame) -> None:
    """Means and standard errors over the seeds."""
    if what == "stop":
        rows["saved"] = 1 - rows["trained"] / BUDGET
        print(rows.groupby("table")[["trained", "saved", "lost"]].agg(["mean", "sem"]).round(4).to_string())
        print(rows[["trained", "saved", "lost"]].agg(["mean", "sem"]).round(4).to_string())
        return
    if what == "foretell":
        marks = [column.removeprefix("expected") for column in rows if column.startswith("expected")]
        for mark in marks:
            pair = rows[[f"expected{mark}", f"came{mark}"]].mean()
            print(f"after {mark}: expected {pair.iloc[0]:.4f}, came {pair.iloc[1]:.4f}")
        return
    columns = [name for share in SHARES if (name := f"to{share:.0%}") in rows]
    rows[columns] = rows[columns].clip(upper=BUDGET)
    keys = [name for name in ("source", "table", "way") if name in rows]
    print(rows.groupby(keys, sort=False)[columns].agg(["median", "mean", "sem", "count"]).round(1).to_string())


def tasks_of(what: str, tables: list[str]) -> list[tuple[str, ...]]:
    """The tables, or pairs of them, that are searched."""
    if what == "learn":
        return [pair for pair in PAIRS if set(pair) <= {*tables, "photos"}]
    return [(name,) for name in tables]


def main() -> None:
    """Run every search that --out does not hold yet, write the rows as CSV and print their summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("stop", "foretell", "learn", "believe"))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=900)
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rows = pd.read_csv(given.out) if given.out.exists() else pd.DataFrame(columns=["table", "source", "seed"])
    for seed in range(given.first_seed, given.first_seed + given.seeds):
        for task in tasks_of(given.what, given.tables):
            done = rows[(rows["seed"] == seed) & (rows["table"] == task[-1])]
            if len(done[done["source"] == task[0]] if given.what == "learn" else done):
                continue
            ways = {"stop": stop, "foretell": foretell, "learn": learn, "believe": believe}
            new = ways[given.what](*task, seed)
            rows = pd.concat([rows.dropna(axis=1, how="all"), pd.DataFrame(list(new))], ignore_index=True)
            rows.to_csv(given.out, index=False)
    show(given.what, rows)


if __name__ == "__main__":
    main()
