"""What a training will come to, foreseen from the point and from what its rungs have shown so far."""

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri
from scipy.stats.qmc import Halton

from nas.search.samplers.gaussian_process import GaussianProcess
from nas.search.samplers.history import Early, Observation

GUESSES = 16  # equally likely values that stand for what may come of a point


class Levels:
    """Values on a scale on which what lies far below the best hardly differs: -log(1 + gap / usual gap).

    A handful of ruined trainings would else be all that a prediction sees.
    """

    def __init__(self, values: np.ndarray):
        self._best = values.max()
        self._usual = self._best - np.median(values) or self._best - values.mean() or 1.0

    def of(self, values: np.ndarray) -> np.ndarray:
        """From values to levels; that of the best is 0."""
        return -np.log1p(np.maximum(self._best - values, 0.0) / self._usual)

    def values(self, levels: np.ndarray) -> np.ndarray:
        """From levels to values."""
        return self._best - self._usual * np.expm1(-levels)


class Foresight:
    """Final values by a Gaussian process over a point's features and its rungs; a rung not reached is foreseen likewise.

    It learns from what finished, from the rungs of what was stopped or still runs, which are believed to end as foreseen, and
    from what failed, as from the worst.
    """

    def __init__(self, observations: list[Observation], *, axes: np.ndarray, seed: int):
        self._axes, self._costs = axes, len(observations[0].costs)
        rng = np.random.default_rng(seed)
        shown = [k for k in observations if k.value is not None or k.early]
        seen = self._learn_rungs(shown, rng)  # (shown, columns)
        finished = np.array([k.value is not None for k in shown])
        values = np.array([k.value for k in shown if k.value is not None])
        self._levels = Levels(values)
        failed = _failed(observations)
        usual = np.zeros(len(self._rungs))  # deviations
        bad = self._seen(np.stack([k.features for k in failed]), [()] * len(failed), usual) if failed else seen[:0]
        targets = self._levels.of(np.append(values, np.full(len(bad), values.min())))[:, None]
        points = np.vstack([seen[finished], bad])
        measured = GaussianProcess(points, targets, axes=self._with_rungs(points), trends=self._trends(points), rng=rng)
        self._last = measured.believing(seen[~finished], rng)  # else it would stay curious about what is stopped each time

    def _learn_rungs(self, shown: list[Observation], rng: np.random.Generator) -> np.ndarray:
        """Learns each rung from the point and the rungs before it; gives features and rungs, the gaps filled."""
        self._signals, self._rungs = _Signals([k.early for k in shown]), []
        seen = np.stack([k.features for k in shown])
        for levels in self._signals.levels([k.early for k in shown]):
            reached = ~np.isnan(levels).any(axis=1)
            axes, trends = self._with_rungs(seen), self._trends(seen)
            self._rungs.append(GaussianProcess(seen[reached], levels[reached], axes=axes, trends=trends, rng=rng))
            if not reached.all():
                levels[~reached] = self._rungs[-1].predict(seen[~reached])[0]
            seen = np.column_stack([seen, levels])
        return seen

    def _with_rungs(self, seen: np.ndarray) -> np.ndarray:
        """The axis of each column; what a rung shows is an axis a signal."""
        more = seen.shape[1] - len(self._axes)
        return np.append(self._axes, self._axes.max() + 1 + np.arange(more))

    def _trends(self, seen: np.ndarray) -> int:
        """How many of the last columns act linearly as well: costs and rungs."""
        return self._costs + seen.shape[1] - len(self._axes)

    def guesses(self, features: np.ndarray, early: Sequence[Early] | None = None) -> np.ndarray:
        """Equally likely final values of each point, given what it has `early` shown: (points, GUESSES)."""
        curves = early if early is not None else [()] * len(features)
        likely, steps = np.empty((len(features), GUESSES)), _spread(len(self._rungs) + 1)
        whole = np.array([len(curve) >= len(self._rungs) for curve in curves])
        for points in filter(np.any, (whole, ~whole)):
            own = [curve for curve, chosen in zip(curves, points, strict=True) if chosen]
            different = steps if points is not whole else steps[:1]  # nothing is left open before the end
            predictions = [self._last.predict(self._seen(features[points], own, row[:-1])) for row in different]
            mean, deviation = (np.column_stack(columns) for columns in zip(*predictions, strict=True))
            likely[points] = self._levels.values(mean + steps[:, -1] * deviation)
        return likely

    def drawn(self, features: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One course that final values might take over points that have shown nothing yet: (points, 1)."""
        for process in self._rungs:
            features = np.column_stack([features, process.draw(features, rng)])
        return self._levels.values(self._last.draw(features, rng))

    def of(self, observations: list[Observation]) -> np.ndarray:
        """The same of known points: (points, GUESSES)."""
        return self.guesses(np.stack([k.features for k in observations]), [k.early for k in observations])

    def _seen(self, features: np.ndarray, curves: Sequence[Early], steps: np.ndarray) -> np.ndarray:
        """Features and rungs side by side; a rung not reached lies so many deviations above its mean."""
        for process, levels, step in zip(self._rungs, self._signals.levels(curves), steps, strict=True):
            missing = np.isnan(levels).any(axis=1)
            if missing.any():
                mean, deviation = process.predict(features[missing])
                levels[missing] = mean + step * deviation
            features = np.column_stack([features, levels])
        return features


class _Signals:
    """What rungs show as levels: each signal turned so that more is better, as more of the first is."""

    def __init__(self, curves: Sequence[Early]):
        self._width = min((len(row) for curve in curves for row in curve), default=0)
        self._scales: list[list[tuple[float, Levels]]] = []
        for rung in range(max(map(len, curves), default=0) if self._width else 0):
            shown = np.array([curve[rung][: self._width] for curve in curves if len(curve) > rung])
            first = shown[:, 0] - shown[:, 0].mean()
            signs = np.where(first @ (shown - shown.mean(axis=0)) < 0, -1.0, 1.0)
            self._scales.append([(sign, Levels(sign * column)) for sign, column in zip(signs, shown.T, strict=True)])

    def levels(self, curves: Sequence[Early]) -> list[np.ndarray]:
        """For each rung (points, signals); NaN where it was not reached."""
        rungs = []
        for rung, scales in enumerate(self._scales):
            shown = np.array([c[rung][: self._width] if len(c) > rung else [np.nan] * self._width for c in curves])
            rungs.append(np.column_stack([scale.of(sign * s) for (sign, scale), s in zip(scales, shown.T, strict=True)]))
        return rungs


def _failed(observations: list[Observation]) -> list[Observation]:
    """What came to nothing, unless an equal point finished or runs."""
    settled = {k.key for k in observations if k.value is not None or k.pending}
    return [k for k in observations if k.value is None and not k.early and k.key not in settled]


def _spread(dimensions: int) -> np.ndarray:
    """Standard normal numbers, evenly spread: (GUESSES, dimensions)."""
    even = Halton(dimensions, scramble=False).random(GUESSES)
    return ndtri((even + 0.5 / GUESSES) % 1.0)
