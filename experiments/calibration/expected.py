"""Is the front of expected accuracies nearer to the truth than the front of measured ones?

    python experiments/calibration/expected.py runs/signals --networks 40 --draws 200

Of a calibration with at least two seeds, the trainings of one seed are taken for those of a search, and the mean of the other
seeds for the truth. Of each draw of so many networks: Kendall tau and root mean square error to the truth (in points, each
seed's own level left out), and the true hypervolume of the front that each way picks (from no MACs to the dearest, from error 1
to 0).
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from nas.calibration.plan import architectures_of
from nas.pareto import hypervolume_of, pareto
from nas.recipes.signals import LOSSES
from nas.results.luck import expected_accuracies
from nas.results.noise import Noise
from nas.run.folder import read_run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--fidelity", default="proxy")
    parser.add_argument("--networks", type=int, default=40)
    parser.add_argument("--draws", type=int, default=200)
    asked = parser.parse_args()
    folder, search = read_run(asked.run)
    signals = pd.read_csv(folder.calibration / "signals.csv")
    signals = signals[signals.fidelity == asked.fidelity]
    wide = signals.pivot_table(index="name", columns=["seed", "signal"], values="value").dropna()
    architectures = architectures_of(search)[0]
    macs = np.array([search.space.cost(architectures[name]).macs for name in wide.index], float)
    manifest = next((folder.calibration / "manifests").glob("*.json"))
    images = Noise(images=len(json.loads(manifest.read_text())["validation"]))
    rng, rows = np.random.default_rng(0), []
    for _ in range(asked.draws):
        drawn = rng.choice(len(wide), min(asked.networks, len(wide)), replace=False)
        rows.append(compared(wide.iloc[drawn], macs[drawn], images))
    show(pd.concat(rows), asked.draws)


def compared(wide: pd.DataFrame, macs: np.ndarray, noise: Noise) -> pd.DataFrame:
    """Mean over the seeds: a row a way to judge, columns tau, rmse and hypervolume."""
    accuracies = wide.xs("accuracy", axis=1, level="signal")
    tables = []
    for seed in accuracies:
        truth = accuracies.drop(columns=seed).mean(axis=1).to_numpy()
        trials = pd.DataFrame({name: wide[(seed, name)].to_numpy() for name in ("accuracy", *LOSSES)})
        trials = trials.assign(macs=macs, replicates=0, state="complete", baseline=None)
        ways = {
            "measured": trials["accuracy"],
            "expected from accuracy and MACs": expected_accuracies(trials.drop(columns=list(LOSSES)), noise),
            "expected from losses as well": expected_accuracies(trials, noise),
            "the truth itself": truth,
        }
        tables.append(pd.DataFrame({way: scores(np.asarray(value), truth, macs) for way, value in ways.items()}).T)
    return sum(tables[1:], start=tables[0]) / len(tables)


def scores(value: np.ndarray, truth: np.ndarray, macs: np.ndarray) -> dict[str, float]:
    gap, costs = value - truth, macs / macs.max()
    chosen = pareto(np.column_stack([1 - value, costs]))
    points = np.column_stack([1 - truth, costs])[chosen]
    volume = hypervolume_of(points[pareto(points)], [1.0, 1.0])
    return {"tau": kendalltau(value, truth)[0], "rmse": 100 * gap.std(), "hypervolume": volume}


def show(rows: pd.DataFrame, draws: int) -> None:
    print(rows.groupby(level=0, sort=False).mean().round(4).to_string())
    volumes = rows["hypervolume"]
    gain = volumes["expected from losses as well"].to_numpy() - volumes["measured"].to_numpy()
    low, high = np.quantile(gain, (0.025, 0.975))
    print(f"hypervolume, expected less measured: {gain.mean():+.4f}, 95 % of {draws} draws between {low:+.4f} and {high:+.4f}")


if __name__ == "__main__":
    main()
