"""What a training will come to, foreseen by trees from the point and from what its rungs have shown so far."""

from collections.abc import Sequence

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor

from nas.search.history import Early, Known
from nas.search.pareto import pareto

TREES = 20
FEW = 4  # finished trainings below which a rung is all that there is to compare
LEARNT = 200  # points that each tree sees at most, so that a question costs the same after thousands of trials
RIDGE = 1.0  # on standardised signals
DOUBT = 0.1  # standard deviations of the values by which each tree may be wrong: they foresee nothing above the best


class Foresight:
    """Final values as trees over a point's features and its rungs; a rung that was not reached is foreseen itself.

    It learns from what finished, from the rungs of what was stopped or still runs, and from what failed, as bad. So that few
    finished trainings teach much, those that only reached a rung count with the value in which they would have ended if that
    were a straight line of what they showed.
    """

    def __init__(self, known: list[Known], *, seed: int):
        settled = {k.key for k in known if k.value is not None or k.pending}
        learnt = [k for k in known if k.value is not None or k.early or (not k.pending and k.key not in settled)]
        features, values, rng = np.stack([k.features for k in learnt]), _levelled(learnt), np.random.default_rng(seed)
        early = _aligned([k.early for k in learnt])
        self._shape = early.shape[1:]  # (rungs, signals)
        self._rungs: list[ExtraTreesRegressor] = []
        for rung in range(early.shape[1]):
            reached = ~np.isnan(early[:, rung]).any(axis=1)
            self._rungs.append(_trees(self._seen(features, early[:, :rung])[reached], early[reached, rung], rng))
        finished = ~np.isnan(values)
        self.doubt = DOUBT * values[finished].std()
        """How far each guess may be wrong."""
        seen = self._seen(features, early)
        measured = np.array([k.value is not None for k in learnt])  # what failed is no guide for what was stopped
        values[~finished] = _continued(seen[:, features.shape[1] - 1 :], values, measured)[~finished]
        self._last = _trees(seen, values, rng)

    def guesses(self, features: np.ndarray, early: Sequence[Early] | None = None) -> np.ndarray:
        """What each tree expects: (points, trees). For a rung not reached it takes what its own like expects there."""
        rungs = np.full((len(features), *self._shape), np.nan)
        for whole, curve in zip(rungs, early or (), strict=False):
            for row, signals in zip(whole, curve, strict=False):
                row[:] = signals[: self._shape[1]]
        return np.stack([tree.predict(self._seen(features, rungs, t)) for t, tree in enumerate(self._last.estimators_)], axis=1)

    def of(self, known: list[Known]) -> np.ndarray:
        """What each tree expects of known points, given what they have shown: (points, trees)."""
        return self.guesses(np.stack([k.features for k in known]), [k.early for k in known])

    def _seen(self, features: np.ndarray, early: np.ndarray, tree: int | None = None) -> np.ndarray:
        """Features and rungs side by side, the gaps filled: by all trees' mean or by one tree."""
        seen = features
        for rung in range(early.shape[1]):
            shown = early[:, rung].copy()
            missing = np.isnan(shown).any(axis=1)
            if missing.any():
                trees = self._rungs[rung] if tree is None else self._rungs[rung].estimators_[tree]
                shown[missing] = trees.predict(seen[missing]).reshape(-1, shown.shape[1])
            seen = np.column_stack([seen, shown]).astype(np.float32)
        return seen


def foreseen(known: list[Known], *, rung: int, seed: int) -> dict[int, float]:
    """Final value of each point that reached a rung (0 is the first), by trial: as measured, else as foreseen; while hardly
    anything has finished, what each showed there first of all."""
    there = [k for k in known if len(k.early) > rung]
    if sum(k.value is not None for k in known) < FEW:
        return {k.number: k.early[rung][0] for k in there}
    expected = Foresight(known, seed=seed).of(there).mean(axis=1)
    return {k.number: float(e) if k.value is None else k.value for k, e in zip(there, expected, strict=True)}


def _aligned(curves: list[Early]) -> np.ndarray:
    """The signals that all rungs share as one array (points, rungs, signals), NaN for a rung that was not reached."""
    most = max(map(len, curves), default=0)
    width = min((len(row) for curve in curves for row in curve), default=0)
    early = np.full((len(curves), most if width else 0, width), np.nan)
    for whole, curve in zip(early, curves, strict=True):
        for row, signals in zip(whole, curve, strict=False):
            row[:] = signals[:width]
    return early


def _continued(shown: np.ndarray, values: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """The values in a straight line (ridge) from what was shown, as those that were measured lie: (points,)."""
    z = (shown - shown[measured].mean(axis=0)) / (shown[measured].std(axis=0) + 1e-9)
    known, average = z[measured], values[measured].mean()
    slopes = np.linalg.solve(known.T @ known + RIDGE * np.eye(z.shape[1]), known.T @ (values[measured] - average))
    return average + z @ slopes


def _levelled(learnt: list[Known]) -> np.ndarray:
    """The values, none lower than what is certain not to matter: the front's range below its lowest. What failed counts as
    that; what a rung stopped, or still runs, has none: NaN."""
    finished = np.array([(*k.costs, -k.value) for k in learnt if k.value is not None])
    front = -finished[pareto(finished), -1]
    floor = front.min() - np.ptp(front) if len(front) > 1 else -finished[:, -1].max()
    return np.array([max(k.value, floor) if k.value is not None else np.nan if k.early else floor for k in learnt])


def _trees(features: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> ExtraTreesRegressor:
    many = len(features) > LEARNT
    trees = ExtraTreesRegressor(
        TREES,
        max_features=0.7,
        bootstrap=many,
        max_samples=LEARNT if many else None,
        random_state=int(rng.integers(2**31)),
    )
    return trees.fit(features, targets.ravel() if targets.ndim == 2 and targets.shape[1] == 1 else targets)
