"""A study's trials as a sampler reads them: points with their costs, what came of them, and what they showed early."""

import math
import operator
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from nas.search.samplers.axes import Belief, Params
from nas.search.samplers.domain import CostFunction, Costs, Domain, ExcessFunction, PointKey, key_of
from nas.search.samplers.gaussian_process import GaussianProcess, one_thread

NEARLY_NOTHING = 1e-3  # of a usual cost: what costs less is nearly nothing
PLAN = "front:plan"  # where a trial keeps its proposal until its parameters are suggested

Answer = TypeVar("Answer")
Early = Sequence[Sequence[float]]  # signals, the same at every rung, of each rung that was reached


class Observation(NamedTuple):
    """A point that was asked before; `value` is None while it runs or waits, and if it was stopped or came to nothing finite.

    It is `pending` while it runs.
    """

    number: int
    params: Params
    key: PointKey
    costs: Costs
    value: float | None
    pending: bool
    early: Early
    features: np.ndarray


class Related(NamedTuple):
    """What another search found at points of this one's space."""

    params: tuple[Params, ...]
    costs: tuple[Costs, ...]
    """As this search counts them."""
    values: tuple[float, ...]


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


def nothing_early(trial: FrozenTrial) -> Early:
    """No rungs."""
    return ()


def none_rests(trial: FrozenTrial) -> bool:
    """Every trial that has not ended runs."""
    return False


def none_void(trial: FrozenTrial) -> bool:
    """Every trial counts: one that failed says that its point is bad."""
    return False


class History:
    """Reads trials as points of `space`, of which `cost` is known beforehand; each is read once until it changes.

    `cost` gets every parameter of `space` and gives a number, or one for each further objective of the study, or None for what
    shall never be proposed. `active(params)` gives those parameters that the objective will ask for, where some depend on
    others, and `excess(params)` how far a point is outside its limits. `early(trial)` gives what a trial showed at each rung
    that it reached, and `rests(trial)` whether it waits at one; `void(trial)` says of which trials nothing is to be learnt, not
    even that they were tried. `related` is what other searches found: what each of them
    foretells of a point stands among its features, and so does what is believed of it, so that it is learnt how far either is
    to be trusted.

    All who read one study share one. It holds nothing but what it would read again from the same trials, and what was last
    worked out from them.
    """

    def __init__(
        self,
        space: dict[str, BaseDistribution],
        cost: CostFunction,
        *,
        active: Callable[[Params], Params] = dict,
        excess: ExcessFunction | None = None,
        early: Callable[[FrozenTrial], Early] = nothing_early,
        rests: Callable[[FrozenTrial], bool] = none_rests,
        void: Callable[[FrozenTrial], bool] = none_void,
        related: Sequence[Related] = (),
        belief: Belief | None = None,
    ):
        self.space, self.domain = space, Domain(space, cost, active=active, excess=excess, belief=belief)
        self._early, self._rests, self._void = early, rests, void
        self.related = tuple(related)
        self._read: dict[int, tuple[FrozenTrial, Observation | None]] = {}  # a trial that changes becomes another object
        self._kept: dict[str, tuple[Any, Any]] = {}

    def observations(self, trials: list[FrozenTrial]) -> list[Observation]:
        """What is known of those trials that have a point of the domain."""
        read, unread = self._read, (None, None)
        numbers = [trial.number for trial in trials]
        changed = [trial for n, trial in zip(numbers, trials, strict=True) if read.get(n, unread)[0] is not trial]
        points = self._points(changed)
        read |= {trial.number: (trial, point) for trial, point in zip(changed, points, strict=True)}
        return [point for n in numbers if (point := read[n][1]) is not None]

    def once(
        self, name: str, key: Any, work: Callable[[], Answer], *, serves: Callable[[Any, Any], bool] = operator.eq
    ) -> Answer:
        """What `work` gives, worked out again only where the last answer of that name does not serve: `serves(old, new)`."""
        if name not in self._kept or not serves(self._kept[name][0], key):
            self._kept[name] = (key, work())
        return self._kept[name][1]

    @cached_property
    def axes_of_features(self) -> np.ndarray:
        """The number of the axis that each column of an observation's features belongs to: (columns,)."""
        widths, others = [axis.width for axis in self.domain.axes.values()], self.num_trends
        return np.repeat(np.arange(len(widths) + others), [*widths, *[1] * others])

    @property
    def num_trends(self) -> int:
        """How many of the last columns a value may follow in a line: the costs, what others foretell and what is believed."""
        return len(self.domain.usual_costs) + len(self.related) + (self.domain.belief is not None)

    def features(self, points: Sequence[Params], costs: Sequence[Costs]) -> np.ndarray:
        """What a prediction sees of points, (points, columns): their parameters, the logarithms of their costs, what other
        searches foretell of them, and last how well they are believed to do."""
        columns = [point_features(self.domain, points, costs)]
        with one_thread():
            columns += [process.predict(columns[0])[0] for process in self._lessons]
        if (belief := self.domain.belief) is not None:
            columns.append(belief.scores(points, self.domain.axes)[:, None])
        return np.column_stack(columns).astype(np.float32)

    @cached_property
    def _lessons(self) -> list[GaussianProcess]:
        """What each of the other searches foretells, as levels."""
        axes, costs = self.axes_of_features, len(self.domain.usual_costs)
        lessons = []
        for number, task in enumerate(self.related):
            values, features = np.array(task.values), point_features(self.domain, task.params, task.costs)
            own, rng = axes[: features.shape[1]], np.random.default_rng(number)
            with one_thread():
                targets = Levels(values).of(values)[:, None]
                lessons.append(GaussianProcess(features, targets, axes=own, trends=costs, rng=rng))
        return lessons

    def _points(self, trials: list[FrozenTrial]) -> list[Observation | None]:
        points = [self._point(trial) for trial in trials]
        there = [point for point in points if point is not None]
        rows = iter(self.features([p.params for p in there], [p.costs for p in there]) if there else ())
        return [None if point is None else point._replace(features=next(rows)) for point in points]

    def _point(self, trial: FrozenTrial) -> Observation | None:
        params = trial.params
        if trial.state != OptunaState.COMPLETE:  # may have ended before all its parameters were suggested
            params = {**trial.system_attrs.get(PLAN, {}), **trial.system_attrs.get("fixed_params", {}), **params}
        if not params or not self.domain.axes.holds(params) or self._void(trial):
            return None
        if trial.state == OptunaState.COMPLETE:
            value = trial.values[0] if math.isfinite(trial.values[0]) else None
            return self._observation(trial, params, tuple(trial.values[1:]), value)
        whole = self.domain.axes.first(params)
        costs = self.domain.costs(whole)
        return None if costs is None else self._observation(trial, self.domain.active(whole), costs, None)

    def _observation(self, trial: FrozenTrial, params: Params, costs: Costs, value: float | None) -> Observation:
        pending = not trial.state.is_finished() and not self._rests(trial)
        nothing = np.empty(0)  # the features of many points are worked out together
        return Observation(trial.number, params, key_of(params), costs, value, pending, self._early(trial), nothing)


def point_features(domain: Domain, points: Sequence[Params], costs: Sequence[Costs]) -> np.ndarray:
    """What a prediction sees of points: their parameters and the logarithms of their costs, (points, columns)."""
    return np.column_stack([domain.axes.features(points), log_costs(domain, costs)]).astype(np.float32)


def log_costs(domain: Domain, costs: Sequence[Costs]) -> np.ndarray:
    """Logarithms of costs in any unit, which also take a cost of nothing: (points, costs)."""
    return np.arcsinh(np.asarray(costs, dtype=float) / (NEARLY_NOTHING * domain.usual_costs))
