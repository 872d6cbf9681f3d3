"""Non-domination and hypervolume, every objective minimised."""

from collections.abc import Sequence

import numpy as np


def pareto(points: Sequence[Sequence[float]]) -> list[int]:
    """Indices of the points that no other point dominates, in the order given; equal points stand or fall together."""
    values = np.asarray(points, dtype=float)
    front: list[int] = []
    for i in np.lexsort(values.T[::-1]) if len(values) else ():  # what dominates a point sorts before it
        above = values[front]
        if not ((above <= values[i]).all(axis=1) & (above < values[i]).any(axis=1)).any():
            front.append(int(i))
    return sorted(front)


def hypervolume(points: Sequence[Sequence[float]], reference: Sequence[float]) -> float:
    """Volume between `points` and `reference` that at least one point dominates, by slicing along the last objective."""
    corner = np.asarray(reference, dtype=float)
    values = np.asarray([p for p in points if np.all(np.asarray(p) < corner)], dtype=float)
    if len(values) == 0:
        return 0.0
    if len(corner) == 1:
        return float(corner[0] - values[:, 0].min())
    values = values[np.argsort(values[:, -1], kind="stable")]
    heights = np.diff(np.append(values[:, -1], corner[-1]))
    return float(sum(h * hypervolume(values[: i + 1, :-1], corner[:-1]) for i, h in enumerate(heights) if h > 0))
