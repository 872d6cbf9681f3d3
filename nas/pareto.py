"""Non-domination and hypervolume, every objective minimised."""

import numpy as np
from numpy.typing import ArrayLike


def pareto(points: ArrayLike) -> list[int]:
    """Indices of the points that no other point dominates, in the order given; equal points stand or fall together.

    A point with NaN dominates none and is dominated by none.
    """
    values = np.asarray(points, dtype=float)
    if not len(values):
        return []
    unknown = np.isnan(values).any(axis=1)
    candidates = np.lexsort(values.T[::-1])  # what dominates a point sorts before it
    candidates = candidates[~unknown[candidates]]
    left = np.ascontiguousarray(values[candidates].T)  # (objectives, candidates)
    front = np.flatnonzero(unknown).tolist()
    if len(left) == 2:
        return sorted([*front, *candidates[_steps(*left)].tolist()])
    while len(candidates):
        front.append(int(candidates[0]))
        best, others = left[:, :1], left[:, 1:]
        is_left = ~((best <= others).all(axis=0) & (best < others).any(axis=0))
        candidates, left = candidates[1:][is_left], others[:, is_left]
    return sorted(front)


def _steps(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Which points of two objectives, sorted, no other dominates: (points,)."""
    is_lower = other < np.append(np.inf, np.minimum.accumulate(other)[:-1])
    step = np.maximum.accumulate(np.where(is_lower, np.arange(len(other)), 0))  # the last lower one up to each point
    return is_lower | ((one == one[step]) & (other == other[step]))


def hypervolume_of(points: ArrayLike, reference: ArrayLike) -> float:
    """Volume between `points` and `reference` that at least one point dominates, by slicing along the last objective."""
    corner = np.asarray(reference, dtype=float)
    values = np.asarray(points, dtype=float).reshape(-1, len(corner))
    values = values[(values < corner).all(axis=1)]
    if len(values) == 0:
        return 0.0
    if len(corner) == 1:
        return float(corner[0] - values[:, 0].min())
    values = values[np.argsort(values[:, -1], kind="stable")]
    heights = np.diff(np.append(values[:, -1], corner[-1]))
    return float(sum(h * hypervolume_of(values[: i + 1, :-1], corner[:-1]) for i, h in enumerate(heights) if h > 0))
