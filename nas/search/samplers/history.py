"""A study's trials as a sampler reads them: points with their costs, what came of them, and what they showed early."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from nas.search.samplers.axes import Params
from nas.search.samplers.domain import Costs, Domain

PLAN = "front:plan"  # where a trial keeps its proposal until its parameters are suggested

Early = Sequence[Sequence[float]]  # signals, the same at every rung, of each rung that was reached


class Known(NamedTuple):
    """A point that was asked before; `value` is None while it runs, and if it was stopped or came to nothing finite."""

    number: int
    params: Params
    key: frozenset
    costs: Costs
    value: float | None
    pending: bool
    early: Early
    features: np.ndarray


class History:
    """Reads trials as points of `domain`; a finished one is read once.

    `early` gives what a trial showed at its rungs; `void` says of which trials nothing is to be learnt, not even that they were
    tried: those that a machine lost.
    """

    def __init__(self, domain: Domain, *, early: Callable[[FrozenTrial], Early], void: Callable[[FrozenTrial], bool]):
        self._domain, self._early, self._void = domain, early, void
        self._read: dict[tuple, Known | None] = {}

    def known(self, trials: list[FrozenTrial]) -> list[Known]:
        """What is known of those trials that have a point of the domain."""
        keys = [(trial._trial_id, trial.number, trial.datetime_complete) for trial in trials]
        new = {key: trial for key, trial in zip(keys, trials, strict=True) if key not in self._read}
        read = dict(zip(new, self._points(list(new.values())), strict=True))
        self._read |= {key: known for key, known in read.items() if new[key].state.is_finished()}
        found = (read[key] if key in read else self._read[key] for key in keys)
        return [known for known in found if known is not None]

    def _points(self, trials: list[FrozenTrial]) -> list[Known | None]:
        points = [self._point(trial) for trial in trials]
        there = [point for point in points if point is not None]
        rows = iter(described(self._domain, [k.params for k in there], [k.costs for k in there]) if there else ())
        return [None if point is None else point._replace(features=next(rows)) for point in points]

    def _point(self, trial: FrozenTrial) -> Known | None:
        params = trial.params
        if trial.state != TrialState.COMPLETE:  # may have ended before all its parameters were suggested
            params = {**trial.system_attrs.get(PLAN, {}), **trial.system_attrs.get("fixed_params", {}), **params}
        if not params or not self._domain.axes.holds(params) or self._void(trial):
            return None
        if trial.state == TrialState.COMPLETE:
            value = trial.values[0] if math.isfinite(trial.values[0]) else None
            return self._told(trial, params, tuple(trial.values[1:]), value)
        whole = self._domain.axes.first(params)
        costs = self._domain.costs(whole)
        return None if costs is None else self._told(trial, self._domain.active(whole), costs, None)

    def _told(self, trial: FrozenTrial, params: Params, costs: Costs, value: float | None) -> Known:
        pending, nothing = not trial.state.is_finished(), np.empty(0)  # the features of many points are worked out together
        return Known(trial.number, params, frozenset(params.items()), costs, value, pending, self._early(trial), nothing)


def described(domain: Domain, points: Sequence[Params], costs: Sequence[Costs]) -> np.ndarray:
    """What a prediction sees of points: their parameters and the logarithms of their costs, (points, columns)."""
    return np.column_stack([domain.axes.features(points), log_costs(costs)]).astype(np.float32)


def log_costs(costs: Sequence[Costs]) -> np.ndarray:
    """Logarithms that also take a cost of nothing, (points, costs)."""
    return np.arcsinh(np.asarray(costs, dtype=float))
