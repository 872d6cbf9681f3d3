"""Expected hypervolume improvement: what a point, its costs known and its value guessed, adds to a front on average."""

from collections.abc import Sequence

import numpy as np

from nas.pareto import hypervolume_of, pareto

REFERENCE = 1.1  # of the front's range, ideal 0 and nadir 1
MOST_CELLS = 2_304  # that the costs are cut into: of two costs each has 48 steps


def expected_gain(costs: np.ndarray, guesses: np.ndarray, observed: np.ndarray, *, reach: np.ndarray) -> np.ndarray:
    """Expected hypervolume improvement (points,) at `costs` (points, costs) over the `observed` rows (costs..., value).

    The `guesses` (points, guesses) of a point's value are equally likely: the expectation is their mean.
    Values are scaled by the range of the observed front, and costs up to `reach` (costs,), the highest that counts, so that a
    costly point which beats none yet does not end the front; the reference point lies at 1.1.
    """
    front, ideal, span = _front_in_its_range(observed, reach)
    heights, areas = _areas_under_steps((costs - ideal[:-1]) / span[:-1], (front - ideal) / span)
    below = (-guesses - ideal[-1]) / span[-1]
    falls = np.maximum(heights - below[:, :, None], 0.0)  # (points, guesses, heights)
    return np.einsum("pgh,ph->p", falls, areas) / guesses.shape[1]  # (points,)


def raised_volumes(observed: np.ndarray, more: Sequence[np.ndarray], *, reach: np.ndarray) -> tuple[float, list[float]]:
    """Hypervolume of the `observed` rows (costs..., value), and with each of the sets of rows in `more`, scaled as above."""
    front, ideal, span = _front_in_its_range(observed, reach)

    def volume(rows: np.ndarray) -> float:
        points = (np.vstack([front, _as_errors(rows)]) - ideal) / span
        return hypervolume_of(points[pareto(points)], [REFERENCE] * len(ideal))

    return volume(observed[:0]), [volume(rows) for rows in more]


def _as_errors(rows: np.ndarray) -> np.ndarray:
    return np.column_stack([rows[:, :-1], -rows[:, -1]])


def _front_in_its_range(observed: np.ndarray, reach: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The front of the rows with every objective to be minimised, its ideal, and the range that each is counted in."""
    errors = _as_errors(observed)
    front = np.unique(errors[pareto(errors)], axis=0)
    ideal = front.min(axis=0)
    span = np.append(reach - ideal[:-1], np.ptp(front[:, -1]))
    span[span == 0] = np.abs(ideal[span == 0]) + 1e-12
    return front, ideal, span


def _areas_under_steps(costs: np.ndarray, front: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The heights of the front's steps, and how much of the costs above each point lies under each: (points, heights)."""
    most = int(MOST_CELLS ** (1 / costs.shape[1]))
    edges = [_edges(own, steps, most=most) for own, steps in zip(costs.T, front.T[:-1], strict=True)]
    surface = np.full([len(e) - 1 for e in edges], REFERENCE)
    for *point, error in front:
        reached = tuple(slice(np.searchsorted(e, c), None) for e, c in zip(edges, point, strict=True))
        surface[reached] = np.minimum(surface[reached], error)
    areas = np.ones((len(costs), 1))
    for e, own in zip(edges, costs.T, strict=True):
        widths = np.clip(e[1:] - np.maximum(e[:-1], own[:, None]), 0, None)  # (points, steps)
        areas = (areas[:, :, None] * widths[:, None, :]).reshape(len(costs), -1)  # (points, cells)
    heights, which = np.unique(surface, return_inverse=True)
    return heights, areas @ np.eye(len(heights))[which.ravel()]


def _edges(costs: np.ndarray, steps: np.ndarray, *, most: int) -> np.ndarray:
    """Where the front steps along one cost, from the lowest that counts to the reference; evenly thinned to `most`."""
    inner = np.unique(steps)
    if len(inner) > most:
        inner = inner[np.linspace(0, len(inner) - 1, most).round().astype(int)]
    return np.array([min(0.0, costs.min()) - 1e-9, *inner, REFERENCE])
