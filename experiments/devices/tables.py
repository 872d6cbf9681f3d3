"""How few measured networks foretell a public device: NAS-Bench-201's 15,625 cells, beside their MACs and a plain ridge.

    python experiments/devices/tables.py --latency nas_bench_201_latency.csv --costs nas_bench_201_cifar.csv

`--latency` holds a column `arch` (six digits, one an edge: 0 none, 1 skip, 2 and 3 convolutions 1x1 and 3x3, 4 average pool)
and one column a device that ends in `_ms`; `--costs` holds `arch` and `macs_m`. The predictor is that of device files,
`nas.devices.predictor`: all operators alike (MACs, calls), then by kind of operator. The ridge is scikit-learn's on one column
an edge and operator, its strength by cross-validation. The ceiling is a fit of the same form to all networks at once.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import kendalltau
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler

from nas.devices.predictor import Columns, fitted

OPERATORS = (1, 2, 3, 4)  # what is run; 0 is no edge
CONVOLUTIONS = (2, 3)
JUDGED = 2000  # networks, none of those measured
Guess = Callable[[np.ndarray, np.ndarray], np.ndarray]


def columns_of_cells(cells: np.ndarray, macs: np.ndarray) -> Columns:
    """Amounts of all operators and of each kind: (networks, terms)."""
    counts = np.stack([(cells == operator).sum(axis=1) for operator in OPERATORS], axis=1).astype(float)
    shares = np.linalg.lstsq(np.column_stack([np.ones(len(cells)), counts]), macs, rcond=None)[0][
        1:
    ]  # MACs are a sum over edges
    named = [("networks", 1, np.ones(len(cells))), ("macs", 1, macs), ("calls", 1, counts.sum(axis=1))]
    named += [("calls", 2, counts[:, i]) for i in range(len(OPERATORS))]
    named += [("macs", 2, shares[i] * counts[:, i]) for i, operator in enumerate(OPERATORS) if operator in CONVOLUTIONS]
    quantities, levels, amounts = zip(*named, strict=True)
    return Columns(np.stack(amounts, axis=1), np.array(levels), quantities)


def ours(columns: Columns, ms: np.ndarray) -> Guess:
    """Guesses from so many measured rows."""

    def guess(measured: np.ndarray, judged: np.ndarray) -> np.ndarray:
        _, weights = fitted(columns._replace(amounts=columns.amounts[measured]), ms[measured])
        return weights.ms(columns.amounts[judged])

    return guess


def ridge(cells: np.ndarray, ms: np.ndarray) -> Guess:
    """The plain fit of log milliseconds to one column an edge and operator."""
    onehot = np.concatenate([cells == operator for operator in OPERATORS], axis=1).astype(float)

    def guess(measured: np.ndarray, judged: np.ndarray) -> np.ndarray:
        scaler = StandardScaler().fit(onehot[measured])
        model = RidgeCV(np.logspace(-3, 3, 25)).fit(scaler.transform(onehot[measured]), np.log(ms[measured]))
        return np.exp(model.predict(scaler.transform(onehot[judged])))

    return guess


def tau_of(guesses: np.ndarray, ms: np.ndarray) -> float:
    """Kendall's tau-b."""
    return float(kendalltau(guesses, ms)[0])


def main() -> None:
    """Print a row a device and number of measured networks, and the medians over devices."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency", type=Path, required=True)
    parser.add_argument("--costs", type=Path, required=True)
    parser.add_argument("--measured", type=int, nargs="+", default=[10, 20, 40, 80])
    parser.add_argument("--seeds", type=int, default=10)
    asked = parser.parse_args()
    table = pd.read_csv(asked.latency, dtype={"arch": str}).merge(pd.read_csv(asked.costs, dtype={"arch": str}), on="arch")
    cells, macs = np.array([[int(digit) for digit in arch] for arch in table["arch"]]), table["macs_m"].to_numpy(float)
    columns, rows = columns_of_cells(cells, macs), []
    for device in [name for name in table if name.endswith("_ms")]:
        ms = table[device].to_numpy(float)
        everything = np.arange(len(ms))
        ceiling = tau_of(
            np.linalg.lstsq(columns.amounts / ms[:, None], np.ones(len(ms)), rcond=None)[0] @ columns.amounts.T, ms
        )
        for number in asked.measured:
            for seed in range(asked.seeds):
                rng = np.random.default_rng(seed)
                measured = rng.choice(everything, number, replace=False)
                judged = rng.choice(np.setdiff1d(everything, measured), JUDGED, replace=False)
                guesses, plain = ours(columns, ms)(measured, judged), ridge(cells, ms)(measured, judged)
                errors = np.abs(guesses / ms[judged] - 1)
                taus = {"MACs": macs[judged], "ridge": plain, "ours": guesses}
                row = {name: tau_of(values, ms[judged]) for name, values in taus.items()} | {"ceiling": ceiling}
                row |= {"error": np.median(errors), "error 90 %": np.quantile(errors, 0.9)}
                rows.append(
                    {"device": device, "measured": number, **row, "ridge error": np.median(np.abs(plain / ms[judged] - 1))}
                )
    found = pd.DataFrame(rows).groupby(["device", "measured"], sort=False).median()
    print(found.round(3).to_string())
    print("\nmedian over devices:\n", found.groupby("measured").median().round(3).to_string())
    print(
        "\nours less MACs, the worst device:\n", (found["ours"] - found["MACs"]).groupby("measured").min().round(3).to_string()
    )


if __name__ == "__main__":
    main()
