"""How well every short training, and what was tried beside them, ranks the networks that the reference has trained long.

    python experiments/calibration/reference/ranking.py runs/reference --kinds tenth distilled --less tenth --out ranking.csv

The same networks for all of one table: those that have a long training, and one of each short kind that stands in it. A row a
kind and signal: Kendall's tau to the long trainings, in bands of equal MACs, less that of params and MACs, each with a 95 %
bootstrap interval over networks; first what is known untrained (MACs, params, the stages), on its own and combined; printed,
and written to ranking.csv with --out. What a kind cost, its teacher or parents included, stands in README.md. As long as the
reference has one seed, a training of that seed is compared with one of equal seed: what the seed does to both counts as
agreement, for all kinds but imitation and inherited. --learn-from tells how many long trainings a combination needs.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import kendalltau
from sklearn.model_selection import ShuffleSplit

from nas.calibration.plan import architectures_of
from nas.calibration.ranking import estimate, kendall, resamples, truths
from nas.calibration.record import curve_of
from nas.calibration.signals import combination, stage_features, trust
from nas.recipes.signals import RANKING_SIGNALS
from nas.run.folder import read_run

REFERENCE = "reference"
SPLITS = 40
SHOWN = ("tau", "band", "over_params", "over_macs")
MORE = "over_kind"  # of tau, than another kind's same signal has


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--imitation", type=Path)
    parser.add_argument("--inherited", type=Path)
    parser.add_argument("--kinds", nargs="+", help="fidelities to compare; all that are there unless told")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--less", metavar="KIND", help="the kind whose tau is taken off, signal by signal and in pairs")
    parser.add_argument("--learn-from", type=int, nargs="+", metavar="N", help="long trainings that a combination learns from")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    folder, search = read_run(asked.run)
    trainings = trainings_in(folder.calibration / "trainings.csv")
    long = trainings[trainings["fidelity"] == REFERENCE].pivot(index="name", columns="seed", values="accuracy")
    short = [trainings[trainings["fidelity"] != REFERENCE]]
    if asked.inherited:
        short.append(inherited_in(asked.inherited))
    kinds = pd.concat(short)
    kinds = kinds[kinds["seed"].isin(asked.seeds) & kinds["fidelity"].isin(asked.kinds or kinds["fidelity"])]
    scores = None if asked.imitation is None else imitation_in(asked.imitation, asked.seeds)
    names = compared(long, kinds, scores)
    architectures, _ = architectures_of(search)
    costs = pd.DataFrame({name: search.space.cost(architectures[name]).by_name() for name in names}).T[["macs", "params"]]
    stages = stage_features({name: architectures[name] for name in names})
    kinds = kinds[kinds["name"].isin(names)]
    scores = untrained(costs, scores)
    reference = long.loc[names].dropna(axis=1)
    table = trust(kinds, costs, reference, trains=np.ones(len(names), bool), scores=scores, stages=stages)
    if asked.less:
        table = pd.concat([table, table.apply(more_than, axis=1, kinds=kinds, reference=reference, less=asked.less)], axis=1)
    print(f"{len(names)} networks, reference seeds {list(reference.columns)}")
    for _, row in table.iterrows():
        shown = [name for name in (*SHOWN, MORE) if name in table and np.isfinite(row[name])]
        cells = (f"{name} {row[name]:.2f} [{row[f'{name}_low']:.2f}, {row[f'{name}_high']:.2f}]" for name in shown)
        print(f"{row['fidelity']:12} {row['signal']:20} {'  '.join(cells)}")
    for number in asked.learn_from or ():
        told = ", ".join(f"{way} {tau:.2f}" for way, tau in learnt_from(number, kinds, costs, stages, reference).items())
        print(f"of networks that {number} others' long trainings were learnt from: {told}")
    if asked.out:
        table.assign(networks=len(names)).round(4).to_csv(asked.out, index=False)


def untrained(costs: pd.DataFrame, imitation: pd.DataFrame | None) -> pd.DataFrame:
    """MACs and params by name, of a seed 0 where no imitation has seeds, and beside them how well the stages imitate."""
    named = costs.rename_axis("name").reset_index()
    return named.assign(seed=0) if imitation is None else imitation.merge(named, on="name")


def learnt_from(
    number: int, kinds: pd.DataFrame, costs: pd.DataFrame, stages: pd.DataFrame, reference: pd.DataFrame
) -> dict[str, float]:
    """Mean tau over `SPLITS` draws of so many networks to learn from, among the others: by each kind's loss and combination."""
    truth, known = reference.mean(axis=1).to_numpy(), pd.concat([np.log(costs), stages], axis=1).loc[reference.index]
    ways = {"what is known untrained": (None, known)}
    for kind, own in kinds[kinds["seed"] == kinds["seed"].min()].groupby("fidelity", sort=False):
        signals = own.set_index("name").loc[reference.index, list(RANKING_SIGNALS)]
        ways |= {f"{kind}'s loss": (signals["validation_loss"].to_numpy(), None)}
        ways |= {f"{kind} combined": (None, pd.concat([signals, known], axis=1))}
    taus: dict[str, list[float]] = {way: [] for way in ways}
    for learnt, judged in ShuffleSplit(SPLITS, train_size=number, random_state=0).split(truth):
        for way, (values, features) in ways.items():
            if features is not None:
                values = combination().fit(features.iloc[learnt], truth[learnt]).predict(features)
            taus[way].append(kendalltau(values[judged], truth[judged])[0])
    return {way: float(np.mean(each)) for way, each in taus.items()}


def more_than(row: pd.Series, *, kinds: pd.DataFrame, reference: pd.DataFrame, less: str) -> pd.Series:
    """By how much a kind's signal ranks better than the same signal of another kind, over the same resamples of networks."""
    draws = []
    for seed, truth in truths(reference, sorted(kinds["seed"].unique())).items():
        own, other = (_values(kinds, kind, row["signal"], seed, list(reference.index)) for kind in (row["fidelity"], less))
        if row["fidelity"] != less and own is not None and other is not None:
            weights = resamples(len(truth))
            draws.append(kendall(own, truth, weights) - kendall(other, truth, weights))
    found = estimate(np.mean(draws, axis=0) if draws else np.full(2, np.nan))
    return pd.Series({MORE: found.value, f"{MORE}_low": found.low, f"{MORE}_high": found.high})


def _values(kinds: pd.DataFrame, kind: str, signal: str, seed: int, names: list[str]) -> np.ndarray | None:
    own = kinds[(kinds["fidelity"] == kind) & (kinds["seed"] == seed)].set_index("name")
    return None if own.empty or signal not in own else own.loc[names, signal].to_numpy(float)


def trainings_in(path: Path) -> pd.DataFrame:
    """Trainings that ended, a row each with all signals."""
    with path.open() as file:
        rows = [row for row in csv.DictReader(file) if not row["cause"]]
    frame = pd.DataFrame(
        {"fidelity": row["fidelity"], "name": row["name"], "seed": int(row["seed"])}
        | {signal: value.of(curve_of(row)) for signal, value in RANKING_SIGNALS.items()}
        for row in rows
    )
    return frame.drop_duplicates(["fidelity", "name", "seed"], keep="last")  # the latest of a changed recipe


def inherited_in(path: Path) -> pd.DataFrame:
    """Trainings of one epoch, from random weights and from a relative's."""
    rows = pd.read_csv(path)
    rows = rows[rows["kind"] != "parent"]
    return rows.assign(fidelity=rows["kind"])[["fidelity", "name", "seed", *RANKING_SIGNALS]]


def imitation_in(path: Path, seeds: list[int]) -> pd.DataFrame:
    """How well the stages imitate, each one's error in decibels, and their sum; larger is better."""
    rows = pd.read_csv(path)
    if rows["epochs"].nunique() != 1:
        raise SystemExit(f"{path}: must be of one number of epochs, but has several")
    rows = rows[rows["seed"].isin(seeds)].reset_index(drop=True)
    stages = -10 * np.log10(rows[[f"stage{number}" for number in range(1, 5)]])
    return pd.concat([rows[["name", "seed"]], stages], axis=1).assign(all_stages=stages.sum(axis=1))


def compared(long: pd.DataFrame, kinds: pd.DataFrame, scores: pd.DataFrame | None) -> list[str]:
    """Networks that have everything."""
    wanted = set(long.index)
    for _, own in kinds.groupby(["fidelity", "seed"]):
        wanted &= set(own["name"])
    if scores is not None:
        wanted &= set(scores["name"])
    return [name for name in long.index if name in wanted]


if __name__ == "__main__":
    main()
