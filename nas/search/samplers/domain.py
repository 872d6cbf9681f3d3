"""The points that may be proposed: a space, what each point costs, and which of its parameters count."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import islice

import numpy as np
from optuna.distributions import BaseDistribution

from nas.errors import Infeasible, NasError
from nas.search.samplers.axes import Axes, Params

DRAWS = 10_000  # random draws before the constraints are held to leave none
SPARE = 20_000  # points of the whole space that are looked at for an untried one before it counts as used up
REMEMBERED = 20_000  # costs that need not be worked out twice

Costs = tuple[float, ...]
CostFunction = Callable[[Params], float | Sequence[float] | None]


class Domain:
    """`space` as axes, with `cost`: a number or several for each point, None for one that shall never be proposed.

    `active` gives those parameters of a point that the objective will ask for, where some depend on others.
    """

    def __init__(self, space: dict[str, BaseDistribution], cost: CostFunction, *, active: Callable[[Params], Params]):
        self.axes = Axes(space)
        self.active = active
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

    def draw(self, rng: np.random.Generator) -> Params:
        """A random point that may be proposed; Infeasible if none is found."""
        for _ in range(DRAWS):
            params = self.axes.draw(rng)
            if self.costs(params) is not None:
                return params
        raise Infeasible(f"the cost function gave None for each of {DRAWS} random points. Loosen its limits.")

    def untried(self, tried: "Tried", rng: np.random.Generator) -> Params | None:
        """A neighbour of a tried point that is untried, else any untried point found, else None."""
        neighbours = (n for p in reversed(tried.points) for n in self.axes.neighbours(self.axes.whole(p, rng)))
        for source in (neighbours, self.axes.points()):
            for params in islice(source, SPARE):
                if self.costs(params) is not None and self.active(params) not in tried:
                    return params
        return None


class Tried:
    """The points that were asked before. One that has fewer parameters stands for all that agree with it in those."""

    def __init__(self, points: Iterable[Params]):
        self.points = list(points)
        self._values: dict[tuple, set[tuple]] = {}
        for params in self.points:
            names = tuple(sorted(params))
            self._values.setdefault(names, set()).add(tuple(params[n] for n in names))

    def __contains__(self, params: Params) -> bool:
        return any(
            len(names) <= len(params) and all(n in params for n in names) and tuple(params[n] for n in names) in values
            for names, values in self._values.items()
        )
