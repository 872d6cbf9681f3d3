"""A Gaussian process over points that are compared by their distance: what was not measured, foreseen or drawn."""

from contextlib import AbstractContextManager
from copy import copy
from functools import cache
from itertools import product

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.linalg.lapack import dpotri
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from threadpoolctl import ThreadpoolController

LENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # over which values change, in usual distances of two points
NOISES = (1e-3, 1e-2, 5e-2, 2e-1)  # share of the variance that equal points would not share
SPREAD = 1.0  # of the logarithms of the axes' own lengths about the common one, a standard deviation
DESCENT_STEPS = 12  # of the descent to them
FARTHEST = 30.0  # logarithm of a rate, that a step of the descent cannot overflow
FITTED = 120  # points on which lengths and noise are chosen
JITTER = 1e-6  # added to variances, that a root can be taken
LEARNT = 400  # points that it learns from: the last and as many at random of the others


def one_thread() -> AbstractContextManager:
    """Where matrices this small are computed by one thread: several would wait for each other on cores that train."""
    return _libraries().limit(limits=1, user_api="blas")


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


class GaussianProcess:
    """Learns `targets` (points, outputs) at `features` (points, columns), of which the last `trends` also act linearly.

    The kernel is the Laplacian one, exp(-distance): in one column a Matérn kernel of smoothness 1/2, over several the product
    of these. The distance is a sum over columns scaled to 0..1 (one-hot columns count choices that differ), each divided by the
    length of its axis; `axes` (columns,) numbers the axis of each column. A common length and the noise are those of the
    largest marginal likelihood (Rasmussen and Williams 2006, section 5.4.1); each axis's own length is then the likeliest one
    under a log-normal prior about the common one.
    """

    def __init__(
        self, features: np.ndarray, targets: np.ndarray, *, axes: np.ndarray, trends: int = 0, rng: np.random.Generator
    ):
        rows = _chosen(len(features), LEARNT, rng)
        features, targets = features[rows].astype(float), targets[rows]
        self._low, self._span = features.min(axis=0), np.ptp(features, axis=0)
        self._span[self._span == 0] = 1.0
        self._trends = trends
        self._mean, self._scale = targets.mean(axis=0), targets.std(axis=0) + 1e-12
        self._points = (features - self._low) / self._span
        wanted = (targets - self._mean) / self._scale
        few = _chosen(len(wanted), FITTED, rng)
        self._rates, self._noise = self._fitted(self._points[few], wanted[few], axes)
        self._root = _noisy_root(self._kernel(self._points, self._points), self._noise)
        self._weights = cho_solve((self._root, True), wanted, check_finite=False)
        self._variance = (wanted * self._weights).mean(axis=0)  # (outputs,)

    def predict(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation, (points, outputs) each."""
        points, mean, explained = self._explained(features)
        unexplained = 1.0 + (self._trend(points) ** 2).sum(axis=1) - (explained**2).sum(axis=0)
        return mean, self._scale * np.sqrt(np.maximum(unexplained, 1e-9)[:, None] * self._variance)

    def along(self, features: np.ndarray, courses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Prediction at points whose last columns differ from course to course: `courses` (courses, points, last columns).

        The mean of each course (courses, points, outputs), and the standard deviation at their middle (points, outputs), which
        hardly differs from one to the other and takes most of the time.
        """
        first = features.shape[1]
        deviation = self.predict(np.column_stack([features, courses.mean(axis=0)]))[1]
        points = (features - self._low[:first]) / self._span[:first]
        near = self._near(self._points[:, :first], points, self._rates[:first])
        means = [self._mean_along(points, near, (course - self._low[first:]) / self._span[first:]) for course in courses]
        return np.array(means), deviation

    def _mean_along(self, points: np.ndarray, near: np.ndarray, course: np.ndarray) -> np.ndarray:
        """Means (points, outputs) where the points' first columns, which lie so `near`, are continued by a course."""
        first = points.shape[1]
        if course.shape[1]:
            near = near * self._near(self._points[:, first:], course, self._rates[first:])
        linear = self._trend(self._points).T @ self._weights  # (trends, outputs)
        both = near.T @ self._weights + self._trend(np.column_stack([points, course])) @ linear
        return self._mean + self._scale * both

    def draw(self, features: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One sample of the posterior at all points together, (points, outputs), as Thompson sampling needs it."""
        points, mean, explained = self._explained(features)
        root = _noisy_root(self._kernel(points, points) - explained.T @ explained, JITTER)
        normal = root @ rng.standard_normal(mean.shape)
        return mean + self._scale * np.sqrt(self._variance) * normal

    def believing(self, features: np.ndarray, rng: np.random.Generator) -> "GaussianProcess":
        """The kriging believer: the same after what it predicts at `features` has come true (Ginsbourger et al. 2010).

        It is surer near these points, and every mean is unchanged.
        """
        believed = features[_chosen(len(features), LEARNT - len(self._points), rng)]
        other = copy(self)
        other._points = np.vstack([self._points, (believed - self._low) / self._span])
        other._root = _noisy_root(other._kernel(other._points, other._points), self._noise)
        other._weights = np.vstack([self._weights, np.zeros((len(believed), self._weights.shape[1]))])
        return other

    def _explained(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Scaled points, their mean, and what of their covariance the measured ones explain as its root."""
        points = (features - self._low) / self._span
        shared = self._kernel(self._points, points)
        mean = self._mean + self._scale * (shared.T @ self._weights)
        return points, mean, solve_triangular(self._root, shared, lower=True, check_finite=False)

    def _fitted(self, points: np.ndarray, wanted: np.ndarray, axes: np.ndarray) -> tuple[np.ndarray, float]:
        """One over the length of each column, and the noise."""
        own = np.stack([cdist(own, own, "cityblock") for own in (points[:, axes == a] for a in range(axes.max() + 1))])
        apart, trend = own.sum(axis=0), self._trend(points)  # own: (axes, points, points)
        usual, linear = np.median(apart[apart > 0]) if apart.any() else 1.0, trend @ trend.T

        def likelihood(chosen: tuple[float, float]) -> float:
            length, noise = chosen
            return _likelihood(_noisy_root(np.exp(-apart / length) + linear, noise), wanted)

        length, noise = max(product(usual * np.array(LENGTHS), NOISES), key=likelihood)
        return _own_rates(own / length, linear, noise, wanted)[axes] / length, noise

    def _kernel(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return self._near(one, other, self._rates) + self._trend(one) @ self._trend(other).T

    @staticmethod
    def _near(one: np.ndarray, other: np.ndarray, rates: np.ndarray) -> np.ndarray:
        """exp(-distance) of scaled points: (one, other)."""
        return np.exp(-cdist(one * rates, other * rates, "cityblock"))

    def _trend(self, points: np.ndarray) -> np.ndarray:
        return 2.0 * points[:, points.shape[1] - self._trends :] - 1.0  # from -1 to 1


def _own_rates(apart: np.ndarray, linear: np.ndarray, noise: float, wanted: np.ndarray) -> np.ndarray:
    """Factors on the distances `apart` (axes, points, points) that are the likeliest under the prior about 1: (axes,)."""
    flat = apart.reshape(len(apart), -1)

    def loss(logs: np.ndarray) -> tuple[float, np.ndarray]:
        rates = np.exp(np.minimum(logs, FARTHEST))
        near = np.exp(-(rates @ flat)).reshape(linear.shape)
        root = _noisy_root(near + linear, noise)
        gradient = -rates * (flat @ (_pull(root, wanted) * near).ravel())
        return 0.5 * (logs @ logs) / SPREAD**2 - _likelihood(root, wanted), logs / SPREAD**2 - gradient

    return np.exp(minimize(loss, np.zeros(len(apart)), jac=True, method="L-BFGS-B", options={"maxiter": DESCENT_STEPS}).x)


def _pull(root: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The derivative of `_likelihood` by each entry of the kernel with that root: (points, points)."""
    weights = cho_solve((root, True), wanted, check_finite=False)  # (points, outputs)
    variance = (wanted * weights).mean(axis=0) + 1e-12
    lower = np.tril(dpotri(root, lower=True)[0])  # of the inverse
    inverse = lower + lower.T - np.diag(lower.diagonal())
    return 0.5 * ((weights / variance) @ weights.T - wanted.shape[1] * inverse)


def _noisy_root(kernel: np.ndarray, noise: float) -> np.ndarray:
    kernel[np.diag_indices_from(kernel)] += noise
    return cholesky(kernel, lower=True, check_finite=False)


def _likelihood(root: np.ndarray, wanted: np.ndarray) -> float:
    """The logarithm of the marginal likelihood at the best variance of each output, but for a constant."""
    variance = (solve_triangular(root, wanted, lower=True, check_finite=False) ** 2).mean(axis=0)
    half_determinant = np.log(np.diag(root)).sum()
    return float(-(0.5 * len(root) * np.log(variance + 1e-12) + half_determinant).sum())


def _chosen(count: int, most: int, rng: np.random.Generator) -> np.ndarray:
    """Indices of all, or of the last and as many at random of the others."""
    if count <= most:
        return np.arange(count)
    before = count - most // 2
    return np.append(rng.choice(before, most - most // 2, replace=False), np.arange(before, count))
