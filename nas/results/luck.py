"""What is left of an accuracy once its luck is taken out: who is picked because a number is high is rarely as good."""

from collections import Counter

import numpy as np
import pandas as pd

from nas.recipes.signals import LOSSES
from nas.results.noise import Noise, Right
from nas.results.points import searched, trend

FEWEST_PEERS = 8  # searched trainings below which nothing is said of their luck
PENALTIES = np.logspace(-1, 3, 9)  # of the ridge regression
GRID = 200  # values that the truth may have
ROUNDS = 300  # of expectation maximisation


def expected_accuracies(trials: pd.DataFrame, noise: Noise) -> pd.Series:
    """What each complete trial would reach with other seeds and images, as far as its peers can tell.

    What lies between a searched trial and what its MACs and losses foretell is shrunk (`posterior_means`). Baselines were not
    picked, and means over other seeds have no luck left: they stay as they are.
    """
    expected = trials["accuracy"].copy()
    able = searched(trials)
    if len(able) < FEWEST_PEERS or noise.images is None:
        return expected
    usual = foretold(able)
    shrunk = posterior_means((able["accuracy"] - usual).to_numpy(float), noise_variance(able, noise))
    picked = able.index[able["replicates"] == 0]
    expected.loc[picked] = usual[picked] + pd.Series(shrunk, index=able.index)[picked]
    return expected


def foretold(trials: pd.DataFrame) -> pd.Series:
    """What the MACs and losses of each trial say of its accuracy, learnt from the other trials.

    A loss weighs every answer where accuracy counts right ones, so that it is less a matter of luck. Ridge regression, its
    penalty chosen and its predictions made by leaving one out; MACs alone (`trend`) where losses are not known.
    """
    usual = trend(trials)
    if not set(LOSSES) <= set(trials) or trials[list(LOSSES)].isna().any(axis=None):
        return usual
    features = np.column_stack([usual, trials[list(LOSSES)]]).astype(float)
    spread = features.std(axis=0)
    scaled = (features - features.mean(axis=0))[:, spread > 0] / spread[spread > 0]
    accuracy = trials["accuracy"].to_numpy(float)
    predictions = [left_out(scaled, accuracy, penalty) for penalty in PENALTIES]
    return pd.Series(min(predictions, key=lambda p: float(((p - accuracy) ** 2).sum())), index=trials.index)


def left_out(features: np.ndarray, targets: np.ndarray, penalty: float) -> np.ndarray:
    """What a ridge regression says of each row that has learnt from the others: `(N,)`."""
    number, width = features.shape
    projection = features @ np.linalg.solve(features.T @ features + penalty * np.eye(width), features.T) + 1 / number
    residuals = targets - targets.mean() - (projection - 1 / number) @ (targets - targets.mean())
    return np.asarray(targets - residuals / (1 - np.diag(projection)))


def posterior_means(values: np.ndarray, variance: float) -> np.ndarray:
    """What is expected behind each of some noisy values, all noise having one variance.

    How the true values are spread is estimated from all of them without assuming a shape, so that a crowd of equally good
    networks that a search has bred is seen as one: general maximum likelihood empirical Bayes (Jiang and Zhang, Annals of
    Statistics 37, 2009), by expectation maximisation over a grid.
    """
    low, high = float(values.min()), float(values.max())
    if variance <= 0 or high - low < 1e-12:
        return values
    grid = np.linspace(low, high, GRID)
    numbers, edges = np.histogram(values, bins=GRID, range=(low, high))
    binned = _likelihood((edges[:-1] + edges[1:]) / 2, grid, variance)
    weights = np.full(GRID, 1 / GRID)
    for _ in range(ROUNDS):
        shares = binned * weights
        shares /= shares.sum(axis=1, keepdims=True)
        weights = numbers @ shares / numbers.sum()
    shares = _likelihood(values, grid, variance) * weights
    return shares @ grid / shares.sum(axis=1)


def _likelihood(values: np.ndarray, truths: np.ndarray, variance: float) -> np.ndarray:
    """`(values, truths)`: a normal distribution's density, but for a factor; never quite 0."""
    return np.exp(-((values[:, None] - truths) ** 2) / (2 * variance)) + 1e-300


def noise_variance(trials: pd.DataFrame, noise: Noise) -> float:
    """Of an accuracy by its own luck alone: what moves all networks together, such as hard images, picks none of them.

    A little too large where replicates have measured the spread between seeds: that holds part of the luck with images too.
    """
    assert noise.images is not None, "without images nothing is known"
    paired, accuracy = mean_paired_variance(trials), trials["accuracy"].to_numpy(float)
    images = float((accuracy * (1 - accuracy)).mean() / noise.images) if np.isnan(paired) else paired / 2
    return images + (noise.seeds or 0.0) ** 2


def mean_paired_variance(trials: pd.DataFrame) -> float:
    """The mean of `paired_variance` over all pairs of different rows; NaN where no two have answers to as many images.

    The squares of all differences sum up to 2 (N sum a^2 - (sum a)^2), so that no pair has to be looked at.
    """
    rights = [right for right in trials["right"] if isinstance(right, Right)] if "right" in trials else []
    variances, pairs = 0.0, 0
    for images, peers in Counter(right.images for right in rights).items():
        _, number = images
        total, own_squares, means = np.zeros(number), 0.0, []
        for right in (right for right in rights if right.images == images):
            shares = right.shares().astype(float)
            total, own_squares = total + shares, own_squares + float(shares @ shares)
            means.append(shares.mean())
        squares = 2 * (peers * own_squares - float(total @ total))
        gaps = 2 * peers**2 * float(np.var(means))
        these = peers * (peers - 1)
        variances += ((squares + these) / (number + 2) - gaps * (number / (number + 2)) ** 2) / (number + 2)
        pairs += these
    return variances / pairs if pairs else np.nan
