"""Which networks to measure: those from which most is learnt about all others of a space."""

import random
from collections.abc import Sequence

import numpy as np

from nas.devices.device_file import columns_of
from nas.devices.predictor import USUAL_NOISE, USUAL_VARIANCES
from nas.space.architecture import Architecture
from nas.space.constraints import random_architecture
from nas.space.search_space import SearchSpace

POOL = 500  # random networks of which some are chosen


def informative(space: SearchSpace, number: int, *, seed: int, first: Sequence[Architecture] = ()) -> list[Architecture]:
    """So many different networks of the space, fewer where it has no more; those of `first` are among them.

    One at a time that network is taken which, once measured, would leave the least variance of all others' times under the
    usual prior (Cohn 1994, "Neural network exploration using optimal experiment design").
    """
    rng = random.Random(seed)
    drawn = (random_architecture(space, rng) for _ in range(max(POOL, 5 * number)))
    pool = list(dict.fromkeys([*first, *space.spread(), *drawn]))
    _, columns = columns_of(pool, space.image_size, space.num_classes)
    totals = {q: columns.amounts[:, i].mean() for i, q in enumerate(columns.quantities) if columns.levels[i] == 1}
    shares = columns.amounts / np.array([totals[q] or 1.0 for q in columns.quantities])
    shares = shares / np.maximum(shares[:, columns.levels == 1].mean(axis=1, keepdims=True), 1e-9)  # errors are relative
    scaled = shares * np.sqrt([USUAL_VARIANCES[level] for level in columns.levels])
    chosen = _least_variance(scaled @ scaled.T, number, taken=list(range(min(len(set(first)), number))))
    return [pool[i] for i in chosen]


def _least_variance(covariance: np.ndarray, number: int, *, taken: list[int]) -> list[int]:
    """Rows in the order in which they are best measured, those `taken` before all others."""
    chosen: list[int] = []
    left = covariance.copy()
    for step in range(min(number, len(left))):
        gains = (left**2).sum(axis=0) / (np.diag(left) + USUAL_NOISE)
        gains[chosen] = -1.0
        row = taken[step] if step < len(taken) else int(np.argmax(gains))
        chosen.append(row)
        left = left - np.outer(left[:, row], left[row]) / (left[row, row] + USUAL_NOISE)
    return chosen
