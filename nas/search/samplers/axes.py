"""A space as a sampler that mutates and predicts sees it: axes of choices, integers or a stretch of numbers."""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

LETTERS = 16  # more options than these are told apart by their order only
STEPS = 16  # values of a stretch without steps that are looked at for an untried one

Params = dict[str, Any]


class Axis(NamedTuple):
    """An axis of `options`, in their order."""

    options: Sequence[Any]

    @property
    def is_open(self) -> bool:
        """Whether there is more than one value."""
        return len(self.options) > 1

    @property
    def grid(self) -> Iterable[Any]:
        """All values."""
        return self.options

    @property
    def is_ordered(self) -> bool:
        """Whether the options are numbers."""
        return all(type(o) in (int, float) for o in self.options[:LETTERS])

    def holds(self, value: Any) -> bool:
        """Whether `value` lies on the axis."""
        return value in self.options

    def draw(self, rng: np.random.Generator) -> Any:
        """A value at random, uniform."""
        return self.options[int(rng.integers(len(self.options)))]

    def other(self, value: Any, rng: np.random.Generator) -> Any:
        """Another value: of numbers an adjacent one half of the time, else any."""
        near = rng.random() < 0.5
        here, last = self.options.index(value), len(self.options) - 1
        if near and self.is_ordered:
            there = here + (1 if rng.random() < 0.5 else -1)
            return self.options[there if 0 <= there <= last else 2 * here - there]
        there = int(rng.integers(last))
        return self.options[there + (there >= here)]

    @property
    def width(self) -> int:
        """How many columns its features have."""
        return 1 + (len(self.options) if 2 < len(self.options) <= LETTERS else 0)

    def features(self, values: Sequence[Any | None]) -> np.ndarray:
        """Order and, of few options, one column each; None, where the axis does not count, is -1 and no column."""
        code = {option: i for i, option in enumerate(self.options)} if len(self.options) <= LETTERS else None
        index = code.__getitem__ if code else self.options.index
        order = np.array([-1 if v is None else index(v) for v in values])
        columns = np.arange(self.width - 1)
        return np.column_stack([order, order[:, None] == columns])  # (values, 1 + columns)


class Stretch(NamedTuple):
    """An axis of the numbers that a `distribution` spans, too many to be listed."""

    distribution: IntDistribution | FloatDistribution

    @property
    def is_open(self) -> bool:
        """Whether there is more than one value."""
        return not self.distribution.single()

    @property
    def grid(self) -> Iterable[float]:
        """Evenly spaced values."""
        low, high, step = self.distribution.low, self.distribution.high, self.distribution.step
        steps = round((high - low) / step) if step else STEPS
        return dict.fromkeys(self.at(i / max(steps, 1)) for i in range(steps + 1))

    def holds(self, value: Any) -> bool:
        """Whether `value` lies on the axis."""
        return type(value) in (int, float) and self.distribution.low <= value <= self.distribution.high

    def draw(self, rng: np.random.Generator) -> float:
        """A value at random, uniform where the distribution is: on the logarithm of a logarithmic one."""
        return self.at(rng.random())

    def other(self, value: float, rng: np.random.Generator) -> float:
        """Another value: one nearby half of the time, else any."""
        near = rng.random() < 0.5
        return self.at(self.position(value) + 0.1 * rng.standard_normal()) if near else self.draw(rng)

    def at(self, position: float) -> float:
        """The value at a position between 0 and 1 of the stretch; an integer where the distribution is one of integers."""
        low, high, step = self.distribution.low, self.distribution.high, self.distribution.step
        position = min(max(position, 0.0), 1.0)
        value = low * (high / low) ** position if self.distribution.log else low + (high - low) * position
        if isinstance(self.distribution, IntDistribution):
            return min(max(round(value), low), high)
        return min(max(low + round((value - low) / step) * step if step else value, low), high)

    def position(self, value: float) -> float:
        """Where between 0 and 1 of the stretch `value` lies."""
        low, high = self.distribution.low, self.distribution.high
        if low == high:
            return 0.0
        return math.log(value / low) / math.log(high / low) if self.distribution.log else (value - low) / (high - low)

    @property
    def width(self) -> int:
        """How many columns its features have."""
        return 1

    def features(self, values: Sequence[float | None]) -> np.ndarray:
        """One column of positions; None, where the axis does not count, is -1."""
        return np.array([[-1.0 if v is None else self.position(v)] for v in values])


def axis_of(distribution: BaseDistribution) -> Axis | Stretch:
    """The axis that Optuna's `distribution` describes."""
    if isinstance(distribution, CategoricalDistribution):
        return Axis(distribution.choices)
    if isinstance(distribution, IntDistribution) and not distribution.log:
        return Axis(range(distribution.low, distribution.high + 1, distribution.step))
    assert isinstance(distribution, IntDistribution | FloatDistribution), distribution  # Optuna has no others
    return Stretch(distribution)


class Belief(NamedTuple):
    """How many times as likely options of axes are believed to be good as others; whatever isn't named counts once."""

    weights: dict[str, dict[Any, float]]

    def scores(self, points: Sequence[Params], axes: "Axes") -> np.ndarray:
        """How well points are thought of, (points,): the logarithm of their likelihood as a standard score over random points.

        So that many beliefs together weigh no more than one.
        """
        logs = {name: {o: math.log(own.get(o, 1.0)) for o in axes[name].grid} for name, own in self.weights.items()}
        means = {name: float(np.mean(list(own.values()))) for name, own in logs.items()}
        deviation = math.sqrt(sum(np.var(list(own.values())) for own in logs.values())) or 1.0
        sums = [sum(own[point[name]] - means[name] for name, own in logs.items() if name in point) for point in points]
        return np.array(sums) / deviation

    def draw(self, axes: "Axes", rng: np.random.Generator) -> Params:
        """A point at random, its options as likely as they are believed to be good."""
        point = axes.draw(rng)
        for name in self.weights:
            options = list(axes[name].grid)
            likely = np.array([self.weights[name].get(option, 1.0) for option in options])
            point[name] = options[rng.choice(len(options), p=likely / likely.sum())]
        return point


class Axes(dict[str, Axis | Stretch]):
    """A space as axes by name: points drawn, changed, crossed and listed. A point may lack axes that do not count for it."""

    def __init__(self, space: dict[str, BaseDistribution]):
        super().__init__({name: axis_of(distribution) for name, distribution in space.items()})

    def holds(self, params: Params) -> bool:
        """Whether all of `params` lie on axes of the space."""
        return all(name in self and self[name].holds(value) for name, value in params.items())

    def draw(self, rng: np.random.Generator) -> Params:
        """A point at random."""
        return {name: axis.draw(rng) for name, axis in self.items()}

    def mutant(self, parent: Params, rng: np.random.Generator, *, most: int) -> Params:
        """A point that differs from `parent` on one to `most` of its axes."""
        names = [name for name in parent if self[name].is_open]
        number = min(int(rng.integers(1, most + 1)), len(names))
        chosen = rng.choice(names, number, replace=False) if names else ()
        return self.whole({**parent, **{str(n): self[n].other(parent[n], rng) for n in chosen}}, rng)

    def crossing(self, one: Params, other: Params, rng: np.random.Generator) -> Params:
        """A point that takes each value from one of two."""
        both = {**one, **other}
        return self.whole({n: (one if n not in other or (n in one and rng.random() < 0.5) else other)[n] for n in both}, rng)

    def whole(self, params: Params, rng: np.random.Generator) -> Params:
        """`params` with a random value on each axis that they lack."""
        return {name: params[name] if name in params else axis.draw(rng) for name, axis in self.items()}

    def first(self, params: Params) -> Params:
        """`params` with the first value on each axis that they lack."""
        return {name: params[name] if name in params else next(iter(axis.grid)) for name, axis in self.items()}

    def neighbours(self, params: Params) -> Iterator[Params]:
        """Every point that differs on one axis."""
        return ({**params, name: value} for name, axis in self.items() for value in axis.grid)

    def points(self) -> Iterator[Params]:
        """Every point, or an evenly spaced choice of them where an axis has no steps."""
        return (dict(zip(self, values, strict=True)) for values in product(*(axis.grid for axis in self.values())))

    def features(self, points: Sequence[Params]) -> np.ndarray:
        """What a prediction sees of points: (points, columns)."""
        return np.column_stack([axis.features([p.get(name) for p in points]) for name, axis in self.items()])
