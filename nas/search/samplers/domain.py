"""The points that may be proposed: a space, what each point costs, and which of its parameters count."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, lru_cache
from itertools import islice
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution

from nas.errors import Infeasible, NasError
from nas.search.samplers.axes import Axes, Belief, Params

DRAWS = 100  # random draws of which one must be affordable, or the last is repaired
REPAIRS = 40  # draws that are repaired before the constraints are held to leave none
CHANGES_TRIED = 400  # at random, by a repair
DESCENT = 60  # best single changes after them
USUAL = 24  # points whose costs say what is usual
TIMES_DRAWN = 2  # times as many draws as points are wanted
FEWEST = 4  # points that will do where few of the draws are affordable: so many are repaired
LIKELY_DRAWS = 4  # of a point that need not be affordable
SPARE = 20_000  # points of the whole space that are looked at for an untried one before it counts as used up
DOUBT = 0.5  # share of the points that are drawn without regard to beliefs
REMEMBERED = 20_000  # costs that need not be worked out twice

Costs = tuple[float, ...]
PointKey = tuple[tuple[str, ...], tuple[Any, ...]]  # names and values
CostFunction = Callable[[Params], float | Sequence[float] | None]
ExcessFunction = Callable[[Params], float]
"""By how much a point is outside its limits, 0 for one that may be proposed."""


class Domain:
    """`space` as axes, with `cost`: a number or several for each point, None for one that shall never be proposed.

    `active` gives those parameters of a point that the objective will ask for, where some depend on others; `excess`, where it
    is given, how far a point is from one that may be proposed, so that points can be repaired where few may.
    """

    def __init__(
        self,
        space: dict[str, BaseDistribution],
        cost: CostFunction,
        *,
        active: Callable[[Params], Params],
        excess: ExcessFunction | None = None,
        belief: Belief | None = None,
    ):
        self.axes = Axes(space)
        self.active, self._excess, self.belief = active, excess, belief
        self._cost_function = cost
        self._remembered = lru_cache(REMEMBERED)(lambda values: self._worked_out(dict(zip(self.axes, values, strict=True))))

    def costs(self, params: Params) -> Costs | None:
        """What a whole point costs; NasError where the cost function gives no number."""
        return self._remembered(tuple(params[name] for name in self.axes))

    def _worked_out(self, params: Params) -> Costs | None:
        try:
            cost = self._cost_function(params)
        except Exception as error:
            raise NasError(f"the cost function must give a number or None, but raised {error!r} for {params}.") from error
        if cost is None:
            return None
        costs = tuple(cost) if isinstance(cost, Sequence) else (cost,)
        if not all(map(math.isfinite, costs)):
            raise NasError(f"the cost function must give a finite number or None, but gave {cost} for {params}.")
        return costs

    @cached_property
    def usual_costs(self) -> np.ndarray:
        """The middle one of some points' costs, as the unit in which others are compared: (costs,)."""
        costs = [self.costs(params) for params in self.drawn(USUAL, np.random.default_rng(0))]
        middle = np.median(np.abs(np.array(costs, dtype=float)), axis=0)
        return np.where(middle > 0, middle, 1.0)

    def draw(self, rng: np.random.Generator) -> Params:
        """A random point that may be proposed, or one near it that may; Infeasible if none is found."""
        for _ in range(REPAIRS):
            for _ in range(DRAWS):
                params = self.axes.draw(rng)
                if self.costs(params) is not None:
                    return params
            repaired = self.repaired(params, rng)
            if repaired is not None:
                return repaired
        raise Infeasible(
            f"the cost function gave None for each of {REPAIRS * DRAWS} random points and for all that lie near. Loosen its "
            "limits."
        )

    def _any(self, rng: np.random.Generator) -> Params:
        """A point of the space at random; half of them as they are believed to be good, where something is believed."""
        if self.belief is None or rng.random() < DOUBT:
            return self.axes.draw(rng)
        return self.belief.draw(self.axes, rng)

    def likely(self, rng: np.random.Generator) -> Params:
        """A random point that may be proposed unless hardly any may."""
        points = [self._any(rng) for _ in range(LIKELY_DRAWS)]
        return next((point for point in points if self.costs(point) is not None), points[0])

    def drawn(self, number: int, rng: np.random.Generator) -> list[Params]:
        """So many random points that may be proposed, or a few where hardly any may; Infeasible if none is found."""
        points: list[Params] = []
        others: list[Params] = []
        while len(points) < number and len(points) + len(others) < TIMES_DRAWN * number:
            params = self._any(rng)
            (others if self.costs(params) is None else points).append(params)
        nearest = iter(sorted(others, key=self._excess) if self._excess else ())
        while len(points) < min(FEWEST, number):
            repaired = (self.repaired(params, rng) for params in nearest)
            points.append(next((point for point in repaired if point is not None), {}) or self.draw(rng))
        return points

    def repaired(self, params: Params, rng: np.random.Generator) -> Params | None:
        """The point itself where it may be proposed, else one that random changes lead to which never lead farther away."""
        if self.costs(params) is not None:
            return params
        if self._excess is None:
            return None
        worst = self._excess(params)
        for _ in range(CHANGES_TRIED):
            changed = self.axes.mutant(params, rng, most=2)
            excess = self._excess(changed)
            if excess <= worst:
                params, worst = changed, excess
            if worst == 0:
                return params
        return self._descended(params, self._excess)

    def _descended(self, params: Params, excess_of: ExcessFunction) -> Params | None:
        """Where the best single change at a time leads to; None where that is a dead end."""
        for _ in range(DESCENT):
            if excess_of(params) == 0:
                return params
            best = min(self.axes.neighbours(params), key=excess_of)
            if excess_of(best) >= excess_of(params):
                return None
            params = best
        return None

    def untried(self, tried: "Tried", rng: np.random.Generator) -> Params | None:
        """A neighbour of a tried point that is untried, else any untried point found, else None."""
        neighbours = (n for p in tried.latest_first for n in self.axes.neighbours(self.axes.whole(p, rng)))
        for source in (neighbours, self.axes.points()):
            for params in islice(source, SPARE):
                if self.costs(params) is not None and self.active(params) not in tried:
                    return params
        return None


def key_of(point: Params) -> PointKey:
    """What two points have in common only if they are equal."""
    names = tuple(sorted(point))
    return names, tuple(point[name] for name in names)


class Tried:
    """The points that were asked before, by their keys. One that has fewer parameters stands for all that agree in those."""

    def __init__(self, keys: Iterable[PointKey]):
        self._values: dict[tuple[str, ...], set[tuple]] = {}
        self._keys = list(keys)
        for names, values in self._keys:
            self._values.setdefault(names, set()).add(values)

    @property
    def latest_first(self) -> Iterator[Params]:
        """Its points."""
        return (dict(zip(names, values, strict=True)) for names, values in reversed(self._keys))

    def __contains__(self, params: Params) -> bool:
        return any(
            len(names) <= len(params) and all(n in params for n in names) and tuple(params[n] for n in names) in values
            for names, values in self._values.items()
        )
