"""Milliseconds from terms: Bayesian regression in which each level of terms differs from that above it as far as data say.

Each term has a weight, what one unit of it takes, normal around zero with a variance that its level shares; since a kind's
amounts count on the level of all operators as well, its weight there is how far it differs from the common one. Errors are
relative to the time. With few measurements the variances of the lower levels come out small, and what is left is a fit of MACs
and memory traffic. It is a Gaussian process with a linear kernel (Rasmussen and Williams 2006, section 2.1), its variances by
the largest marginal likelihood (section 5.4.1) under a wide prior.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular

USUAL_VARIANCES = {1: 0.3, 2: 0.15, 3: 1.0, 4: 0.02}  # of a level's weights, in shares of a usual time
USUAL_NOISE = 0.03**2  # relative
PRIOR_WIDTH = 1.5  # standard deviation of the prior of these variances' logarithms
RIDGE = 1e-9


class Columns(NamedTuple):
    """Amounts of terms as a matrix: (networks, terms), each column's level and quantity, and the units of quantities."""

    amounts: np.ndarray
    levels: np.ndarray
    quantities: Sequence[str]


class Hyper(NamedTuple):
    """What the marginal likelihood decides: the variance of each level's weights, and of the relative error."""

    variances: dict[int, float]
    noise: float


class Weights(NamedTuple):
    """What one unit of each term takes, in milliseconds, and how uncertain that is."""

    mean: np.ndarray
    """(terms,)"""
    prior: np.ndarray
    """Variances before anything was measured: (terms,)."""
    informed: np.ndarray
    """Rows whose outer products measurements took away from them: (networks measured, terms)."""
    noise: float
    """Variance of the relative error of one network."""

    def ms(self, amounts: np.ndarray) -> np.ndarray:
        """Milliseconds of networks: (networks, terms) to (networks,)."""
        return amounts @ self.mean

    def spread(self, amounts: np.ndarray) -> np.ndarray:
        """Standard deviations of the same, the error of a single network included: (networks,)."""
        uncertain = (amounts**2) @ self.prior - ((amounts @ self.informed.T) ** 2).sum(axis=-1)
        return np.sqrt(np.maximum(uncertain, 0.0) + self.noise * self.ms(amounts) ** 2)


def fitted(columns: Columns, ms: np.ndarray) -> tuple[Hyper, Weights]:
    """The most likely variances, and the weights under them, of networks that took so many milliseconds each: (networks,)."""
    hyper = _most_likely(_normed(columns, ms))
    return hyper, weights(columns, ms, hyper)


def weights(columns: Columns, ms: np.ndarray, hyper: Hyper) -> Weights:
    """The weights under given variances."""
    normed = _normed(columns, ms)
    prior = np.array([hyper.variances[level] for level in columns.levels])
    root = np.linalg.cholesky(_covariance(normed, hyper))
    scaled = normed.amounts * prior
    informed = solve_triangular(root, scaled, lower=True)  # (networks, terms)
    mean = informed.T @ solve_triangular(root, normed.times, lower=True)
    return Weights(
        normed.ms * mean / normed.units,
        (normed.ms / normed.units) ** 2 * prior,
        normed.ms * informed / normed.units,
        hyper.noise,
    )


class _Normed(NamedTuple):
    """Measurements without units: amounts in usual amounts, times in usual times."""

    amounts: np.ndarray
    levels: np.ndarray
    times: np.ndarray
    units: np.ndarray
    ms: float


def _normed(columns: Columns, ms: np.ndarray) -> _Normed:
    """An amount of a quantity is one where it is as much as networks have of it in all, on average."""
    quantities = np.array(columns.quantities)
    means = columns.amounts.mean(axis=0)
    totals = {q: means[(quantities == q) & (columns.levels == 1)].sum() or 1.0 for q in set(quantities)}
    units = np.array([totals[q] for q in quantities])
    usual = float(np.median(ms))
    return _Normed(columns.amounts / units, columns.levels, ms / usual, units, usual)


def _covariance(normed: _Normed, hyper: Hyper) -> np.ndarray:
    signal = sum(
        variance * normed.amounts[:, normed.levels == level] @ normed.amounts[:, normed.levels == level].T
        for level, variance in hyper.variances.items()
    )
    return signal + np.diag(hyper.noise * normed.times**2 + RIDGE)


def _most_likely(normed: _Normed) -> Hyper:
    levels = sorted(set(normed.levels.tolist()))
    usual = np.log([*(USUAL_VARIANCES[level] for level in levels), USUAL_NOISE])
    grams = [normed.amounts[:, normed.levels == level] @ normed.amounts[:, normed.levels == level].T for level in levels]

    def loss(logs: np.ndarray) -> float:
        *variances, noise = np.exp(logs)
        covariance = sum(v * gram for v, gram in zip(variances, grams, strict=True))
        root = np.linalg.cholesky(covariance + np.diag(noise * normed.times**2 + RIDGE))
        fit = solve_triangular(root, normed.times, lower=True)
        return float(fit @ fit / 2 + np.log(np.diag(root)).sum() + (((logs - usual) / PRIOR_WIDTH) ** 2).sum() / 2)

    from scipy.optimize import minimize  # takes a while; who only predicts goes without

    bounds = [(log - 4 * PRIOR_WIDTH, log + 4 * PRIOR_WIDTH) for log in usual]
    best = minimize(loss, usual, method="L-BFGS-B", bounds=bounds, options={"maxiter": 60})
    *variances, noise = np.exp(best.x)
    return Hyper(dict(zip(levels, map(float, variances), strict=True)), float(noise))
