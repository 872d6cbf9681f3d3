"""What a training will come to, foreseen from the point and from what its rungs have shown so far."""

import operator
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri
from scipy.stats.qmc import Halton

from nas.search.samplers.gaussian_process import GaussianProcess
from nas.search.samplers.history import Early, History, Levels, Observation

RENEWED = 64  # a prediction is worked out anew when a share of one in so many has come to what it has learnt from
GUESSES = 16  # equally likely values that stand for what may come of a point


class Foresight:
    """Final values by a Gaussian process over a point's features and its rungs; a rung not reached is foreseen likewise.

    It learns from what finished, from the rungs of what was stopped or still runs, which are believed to end as foreseen, and
    from what failed, as from the worst.
    """

    def __init__(self, observations: list[Observation], *, axes: np.ndarray, trends: int, seed: int | Sequence[int]):
        self._axes, self._own_trends = axes, trends
        self._guesses: dict[tuple[int, int], np.ndarray] = {}
        rng = np.random.default_rng(seed)
        shown = [k for k in observations if k.value is not None or k.early]
        seen = self._learn_rungs(shown, rng)  # (shown, columns)
        finished = np.array([k.value is not None for k in shown])
        values = np.array([k.value for k in shown if k.value is not None])
        self._levels = Levels(values)
        failed = _failed(observations)
        bad = self._with_expected_rungs(np.stack([k.features for k in failed])) if failed else seen[:0]
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
        """How many of the last columns act linearly as well: the history's own, and rungs."""
        return self._own_trends + seen.shape[1] - len(self._axes)

    def guesses(self, features: np.ndarray, early: Sequence[Early] | None = None) -> np.ndarray:
        """Equally likely final values of each point, given what it has `early` shown: (points, GUESSES)."""
        steps = _spread(len(self._rungs) + 1)
        shown = self._signals.levels(early if early is not None else [()] * len(features))
        is_open = any(np.isnan(levels).any() for levels in shown)
        courses = np.empty((GUESSES if is_open else 1, len(features), 0))  # that the rungs may take
        for process, levels, step in zip(self._rungs, shown, steps.T, strict=False):
            likely = levels[None]
            if is_open:
                mean, deviation = process.along(features, courses)
                likely = np.where(np.isnan(levels), mean + step[:, None, None] * deviation, levels)
            courses = np.concatenate([courses, likely], axis=2)
        mean, deviation = self._last.along(features, courses)
        return self._levels.values((mean + steps[:, -1, None, None] * deviation)[:, :, 0].T)

    def drawn(self, features: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One course that final values might take over points that have shown nothing yet: (points, 1)."""
        for process in self._rungs:
            features = np.column_stack([features, process.draw(features, rng)])
        return self._levels.values(self._last.draw(features, rng))

    def of(self, observations: list[Observation]) -> np.ndarray:
        """The same of known points, each worked out once: (points, GUESSES)."""
        keys = [(k.number, len(k.early)) for k in observations]
        if new := {key: k for k, key in zip(observations, keys, strict=True) if key not in self._guesses}:
            guesses = self.guesses(np.stack([k.features for k in new.values()]), [k.early for k in new.values()])
            self._guesses |= dict(zip(new, guesses, strict=True))
        return np.stack([self._guesses[key] for key in keys])

    def means(self, observations: list[Observation]) -> list[float]:
        """What is expected of known points."""
        return [float(mean) for mean in self.of(observations).mean(axis=1)]

    def _with_expected_rungs(self, features: np.ndarray) -> np.ndarray:
        """Features and what each rung is expected to show, side by side."""
        for process in self._rungs:
            features = np.column_stack([features, process.predict(features)[0]])
        return features


class Evidence(NamedTuple):
    """What a prediction has learnt from: finished trainings and rungs, and failures."""

    seed: int
    shown: list[Observation]
    failed: list[Observation]

    @property
    def num_results(self) -> int:
        """Finished trainings, rungs and failures."""
        return len(self.failed) + sum(len(k.early) + (k.value is not None) for k in self.shown)

    def is_same(self, other: "Evidence") -> bool:
        """Whether they are the same observations, read once."""
        mine, theirs = [*self.shown, *self.failed], [*other.shown, *other.failed]
        return self.seed == other.seed and len(mine) == len(theirs) and all(map(operator.is_, mine, theirs))

    def is_nearly(self, later: "Evidence", *, most: int) -> bool:
        """Whether at most so many results are missing that a later one has."""
        is_near = self.seed == later.seed and 0 <= later.num_results - self.num_results <= most
        return is_near and {k.number for k in self.shown} <= {k.number for k in later.shown}


def foresight_of(observations: list[Observation], history: History, *, seed: int) -> Foresight:
    """What these observations foretell. It is worked out once for all that is asked before another training shows something,
    or before `lag` more results are there."""
    learnt = Evidence(seed, [k for k in observations if k.value is not None or k.early], _failed(observations))
    axes, trends, most = history.axes_of_features, history.num_trends, lag(observations)

    work = partial(Foresight, observations, axes=axes, trends=trends, seed=(seed, len(learnt.shown)))
    if not most:
        return history.once("foresight", learnt, work, serves=Evidence.is_same)
    return history.once("lagging foresight", learnt, work, serves=partial(Evidence.is_nearly, most=most))


def lag(observations: list[Observation]) -> int:
    """How many of the last results a prediction need not have learnt from yet: a 64th of all, and at most half as many as
    trainings run.

    So few change it little, and a driver of hundreds of workers would else do hardly anything but learn. None where one
    training runs at a time, so that such a search can be repeated.
    """
    results = len(_failed(observations)) + sum(len(k.early) + (k.value is not None) for k in observations)
    return min(results // RENEWED, sum(k.pending for k in observations) // 2)


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
    bad = [k for k in observations if k.value is None and not k.early and not k.pending]
    settled = {k.key for k in observations if k.value is not None or k.pending} if bad else set()
    return [k for k in bad if k.key not in settled]


def _spread(dimensions: int) -> np.ndarray:
    """Standard normal numbers, evenly spread: (GUESSES, dimensions)."""
    even = Halton(dimensions, scramble=False).random(GUESSES)
    return ndtri((even + 0.5 / GUESSES) % 1.0)
