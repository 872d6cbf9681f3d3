"""How well one ranking agrees with another: Kendall's tau-b and Spearman's rho over resamples of what is ranked.

Everything is a matrix of weights: row 0 holds the sample as it is, each further row how often a bootstrap resample drew each
architecture. A repeated architecture ties with itself, as it would in a resample that is written out.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

FAILED = -1.0  # accuracy of a training that failed: below every other, so that it ranks last; two of them tie
FEWEST_RANKED = 4  # ranked architectures below which no correlation is given
RESAMPLES = 2000
Measure = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
Pairs = list[tuple[np.ndarray, np.ndarray]]


class Estimate(NamedTuple):
    """A number and its 95 % bootstrap interval; NaN where there is none."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return "-" if np.isnan(self.value) else f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def resamples(number: int, *, seed: int = 0) -> np.ndarray:
    """Weights `(1 + RESAMPLES, number)`: ones, then how often each resample of `number` drew each."""
    drawn = np.random.default_rng(seed).multinomial(number, np.full(number, 1 / number), size=RESAMPLES)
    return np.vstack([np.ones((1, number)), drawn])


def kendall(x: np.ndarray, y: np.ndarray, weights: np.ndarray, *, among: np.ndarray | None = None) -> np.ndarray:
    """Kendall's tau-b of `x` and `y` for each row of weights; NaN where either is constant. Kendall, Biometrika 33 (1945).

    Of the pairs for which the bool matrix `among` `(N, N)` is true, where it is given.
    """
    sx, sy = (np.sign(v[:, None] - v[None, :]) for v in (x, y))  # (N, N)
    if among is not None:
        sx, sy = sx * among, sy * among

    def total(pairs: np.ndarray) -> np.ndarray:
        return ((weights @ pairs) * weights).sum(1)

    with np.errstate(invalid="ignore", divide="ignore"):
        return total(sx * sy) / np.sqrt(total(sx * sx) * total(sy * sy))


def spearman(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Spearman's rho of `x` and `y` for each row of weights, ties on their mean rank; NaN where either is constant."""
    rx, ry = (_centred_ranks(v, weights) for v in (x, y))  # (R, N)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (weights * rx * ry).sum(1) / np.sqrt((weights * rx**2).sum(1) * (weights * ry**2).sum(1))


def _centred_ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    below = (values[None, :] < values[:, None]) + 0.5 * (values[None, :] == values[:, None])  # (N, N)
    ranks = weights @ below.T  # (R, N)
    with np.errstate(invalid="ignore"):  # a resample may hold none of them
        return ranks - (weights * ranks).sum(1, keepdims=True) / weights.sum(1, keepdims=True)


def truths(reference: pd.DataFrame | pd.Series, seeds: list[int]) -> dict[int, np.ndarray]:
    """For each seed what its trainings are compared with: the reference's mean over the *other* seeds.

    Comparing a training with one that shares its seed would count what the seed does to both as agreement. With one seed
    there is no other, and it has to be the same; a truth from outside has no seeds.
    """
    if isinstance(reference, pd.Series):
        return {seed: reference.to_numpy(float) for seed in seeds}
    if reference.shape[1] == 1:
        return {seed: reference.iloc[:, 0].to_numpy(float) for seed in seeds if seed in reference}
    return {s: reference.drop(columns=s, errors="ignore").mean(axis=1).to_numpy(float) for s in seeds}


def pairs_of(accuracies: pd.DataFrame, reference: pd.DataFrame | pd.Series) -> Pairs:
    """For each seed the accuracies of a fidelity and the truth to compare them with; rows are the same architectures."""
    truth = truths(reference, list(accuracies.columns))
    return [(accuracies[seed].to_numpy(float), y) for seed, y in truth.items()]


def agreement(pairs: Pairs, weights: np.ndarray, measure: Measure, *, keep: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The mean of `measure` over seeds, for the sample and for each resample; `keep(truth)` says which architectures count."""
    by_seed = []
    for x, y in pairs:
        able = np.isfinite(x) & np.isfinite(y) & keep(y)
        if able.sum() >= FEWEST_RANKED:
            by_seed.append(measure(x[able], y[able], weights[:, able]))
    return np.mean(by_seed, axis=0) if by_seed else np.full(len(weights), np.nan)


def upper_half(truth: np.ndarray) -> np.ndarray:
    """Which values are in the top half, the middle one and what ties with the last included."""
    values = np.sort(truth[np.isfinite(truth)])[::-1]
    return truth >= values[(len(values) + 1) // 2 - 1]


def estimate(values: np.ndarray) -> Estimate:
    """The first value and the 2.5 and 97.5 percentiles of the others, resamples without a value left out."""
    drawn = values[1:][np.isfinite(values[1:])]
    low, high = np.quantile(drawn, (0.025, 0.975)) if len(drawn) else (np.nan, np.nan)
    return Estimate(float(values[0]), float(low), float(high))


def seed_noise(accuracies: pd.DataFrame) -> tuple[float, float]:
    """Pooled standard deviation over seeds of one architecture's accuracy: as it is, and once each seed's mean is removed.

    The second is what shared seeds leave: a seed moves all architectures together. Architectures that failed or lack a seed
    are left out; NaN for fewer than two seeds.
    """
    whole = accuracies[(accuracies > FAILED).all(axis=1) & accuracies.notna().all(axis=1)].to_numpy(float)
    rows, columns = whole.shape
    if rows < 2 or columns < 2:
        return float("nan"), float("nan")
    residual = whole - whole.mean(axis=1, keepdims=True)
    shared = residual - residual.mean(axis=0, keepdims=True)
    degrees = rows * (columns - 1), (rows - 1) * (columns - 1)
    return float(np.sqrt((residual**2).sum() / degrees[0])), float(np.sqrt((shared**2).sum() / degrees[1]))
