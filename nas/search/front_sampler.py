"""A sampler for one expensive objective and one whose value is known before: it proposes what should widen the front most.

The expensive one is predicted by trees; candidates are mutants of the front, crossings and random draws; that with the largest
expected gain in hypervolume at its known cost is proposed. All is read from the study at every question: no hidden state.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice, product
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState
from scipy.special import ndtr
from sklearn.ensemble import ExtraTreesRegressor

from nas.errors import Infeasible, NasError
from nas.search.axes import axis_of

START = 16  # points spread over the cost before the prediction takes over
TREES = 20
LEARNT = 200  # points that each tree sees at most, so that a question costs the same after thousands of trials
CANDIDATES = 240
DRAWS = 40  # random draws a candidate before the constraints are held to leave none
SPARE = 20_000  # points of the whole space that are looked at for an untried one before it counts as used up
DOUBT = 0.1  # standard deviations of the values by which each tree may be wrong: they foresee nothing above the best
REFERENCE = 1.1  # of the front's range, ideal 0 and nadir 1
PLAN = "front:plan"  # where a trial keeps its proposal until its parameters are suggested

Params = dict[str, Any]
Cost = Callable[[Params], float | None]


class Known(NamedTuple):
    """A point that was asked before; `value` is None while it runs or if it came to nothing."""

    params: Params
    key: frozenset
    cost: float
    value: float | None
    pending: bool
    features: np.ndarray


class FrontSampler(BaseSampler):
    """Proposes points of `space` for a study that maximises an expensive value and minimises `cost(params)`.

    `cost` gets every parameter of `space` and gives None for what shall never be proposed. `active(params)` gives those of them
    that the objective will ask for, where some depend on others; without it all are.
    """

    def __init__(
        self,
        space: dict[str, BaseDistribution],
        cost: Cost,
        *,
        seed: int,
        active: Callable[[Params], Params] = dict,
    ):
        self._space, self._given_cost, self._active, self._seed = space, cost, active, seed
        self._axes = {name: axis_of(d) for name, d in space.items()}
        self._others = RandomSampler(seed=seed)
        self._costs: dict[tuple, float | None] = {}  # with `_read` only what need not be worked out twice
        self._read: dict[tuple, Known | None] = {}

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The whole space: a point is proposed as one, and the parameters that are not asked for stay unused."""
        return self._space

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> Params:
        """The point to evaluate next; nothing where the user has queued one."""
        if len(study.directions) != 2 or [d.name for d in study.directions] != ["MAXIMIZE", "MINIMIZE"]:
            raise NasError('FrontSampler needs a study with directions ["maximize", "minimize"].')
        if set(self._space) <= set(trial.system_attrs.get("fixed_params", {})):
            return {}
        others = [t for t in study.get_trials(deepcopy=False) if t.number != trial.number]
        known = [k for k in map(self._known, others) if k is not None]
        chosen = self._propose(known, np.random.default_rng([self._seed, len(known)]))
        if chosen is None:
            optuna.logging.get_logger("optuna").warning(
                "Every point of the space was tried: one is repeated, and the study stops."
            )
            with suppress(RuntimeError):  # outside of `optimize` there is nothing to stop
                study.stop()
            return self._draw(np.random.default_rng(self._seed))
        study._storage.set_trial_system_attr(trial._trial_id, PLAN, chosen)
        return chosen

    def sample_independent(self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: Any) -> Any:
        """A random value for a parameter that the space lacks."""
        return self._others.sample_independent(study, trial, param_name, param_distribution)

    # what is known

    def _known(self, trial: FrozenTrial) -> Known | None:
        """The point of a trial, or None if it has none in this space; a finished trial is read once."""
        if not trial.state.is_finished():
            return self._point(trial)
        key = (trial._trial_id, trial.number, trial.datetime_complete)
        if key not in self._read:
            self._read[key] = self._point(trial)
        return self._read[key]

    def _point(self, trial: FrozenTrial) -> Known | None:
        params = trial.params
        if trial.state != TrialState.COMPLETE:  # may have ended before all its parameters were suggested
            params = {**trial.system_attrs.get(PLAN, {}), **trial.system_attrs.get("fixed_params", {}), **params}
        if not params or not all(n in self._axes and self._axes[n].holds(v) for n, v in params.items()):
            return None
        if trial.state == TrialState.COMPLETE:
            return self._described(params, trial.values[1], trial.values[0])
        params = {n: params.get(n, next(iter(axis.grid))) for n, axis in self._axes.items()}
        cost = self._cost(params)
        pending = not trial.state.is_finished()
        return None if cost is None else self._described(self._active(params), cost, None, pending=pending)

    def _described(self, params: Params, cost: float, value: float | None, *, pending: bool = False) -> Known:
        return Known(params, frozenset(params.items()), cost, value, pending, self._features([params], [cost])[0])

    def _cost(self, params: Params) -> float | None:
        key = tuple(params.values())
        if key not in self._costs:
            self._costs[key] = self._checked_cost(params)
        return self._costs[key]

    def _checked_cost(self, params: Params) -> float | None:
        try:
            cost = self._given_cost(params)
        except Exception as error:
            raise NasError(f"the cost function must give a number or None, but raised {error!r} for {params}.") from error
        if cost is not None and not math.isfinite(cost):
            raise NasError(f"the cost function must give a finite number or None, but gave {cost} for {params}.")
        return cost

    # what is proposed

    def _propose(self, known: list[Known], rng: np.random.Generator) -> Params | None:
        tried = _Tried(known)
        finished = [k for k in known if k.value is not None]
        if len(known) < START or len(finished) < 2:
            candidates = [self._draw(rng) for _ in range(CANDIDATES)]
            order = _spread(self._costs_of(candidates), np.array([k.cost for k in known]))
        else:
            candidates = self._candidates(finished, rng)
            order = np.argsort(-self._gains(candidates, known, rng), kind="stable")
        ranked = (candidates[i] for i in order)
        return next((c for c in ranked if self._active(c) not in tried), None) or self._untried(tried, rng)

    def _costs_of(self, candidates: list[Params]) -> np.ndarray:
        return np.array([self._cost(c) for c in candidates], dtype=float)

    def _draw(self, rng: np.random.Generator) -> Params:
        for _ in range(DRAWS * CANDIDATES):
            params = {name: axis.draw(rng) for name, axis in self._axes.items()}
            if self._cost(params) is not None:
                return params
        raise Infeasible(f"the cost function gave None for each of {DRAWS * CANDIDATES} random points. Loosen its limits.")

    def _candidates(self, finished: list[Known], rng: np.random.Generator) -> list[Params]:
        front = [finished[i].params for i in _front(np.array([(k.cost, k.value) for k in finished]))]
        found: dict[tuple, Params] = {}
        for _ in range(CANDIDATES):
            kind = rng.random()
            parent = front[rng.integers(len(front))]
            if kind < 0.65:
                child = self._mutant(parent, rng)
            elif kind < 0.85:
                child = self._crossing(parent, front[rng.integers(len(front))], rng)
            else:
                child = self._draw(rng)
            if self._cost(child) is not None:
                found[tuple(child.values())] = child
        return list(found.values()) or [self._draw(rng)]

    def _mutant(self, parent: Params, rng: np.random.Generator) -> Params:
        open_names = [name for name in parent if self._axes[name].is_open]
        names = rng.choice(open_names, min(rng.integers(1, 4), len(open_names)), replace=False) if open_names else ()
        return self._whole({**parent, **{str(n): self._axes[n].other(parent[n], rng) for n in names}}, rng)

    def _crossing(self, one: Params, other: Params, rng: np.random.Generator) -> Params:
        return self._whole(
            {n: (one if n not in other or (n in one and rng.random() < 0.5) else other)[n] for n in {**one, **other}}, rng
        )

    def _whole(self, params: Params, rng: np.random.Generator) -> Params:
        return {name: params[name] if name in params else axis.draw(rng) for name, axis in self._axes.items()}

    def _untried(self, tried: "_Tried", rng: np.random.Generator) -> Params | None:
        """A neighbour of a tried point that is untried, else any untried point found, else None."""
        points = (self._whole(p, rng) for p in reversed(tried.points))
        neighbours = ({**p, n: v} for p in points for n, axis in self._axes.items() for v in axis.grid)
        everything = (dict(zip(self._axes, values, strict=True)) for values in product(*(a.grid for a in self._axes.values())))
        for source in (neighbours, everything):
            for params in islice(source, SPARE):
                if self._cost(params) is not None and self._active(params) not in tried:
                    return params
        return None

    def _gains(self, candidates: list[Params], known: list[Known], rng: np.random.Generator) -> np.ndarray:
        """The expected gain in hypervolume of each candidate."""
        costs = self._costs_of(candidates)
        trees, noise = self._trees(known, rng)
        points = [(k.cost, k.value) for k in known if k.value is not None]
        if pending := [k for k in known if k.pending]:
            believed = trees.predict(np.stack([k.features for k in pending]))
            points += [(k.cost, value) for k, value in zip(pending, believed, strict=True)]
        wanted = self._features([self._active(c) for c in candidates], costs)
        predicted = np.stack([t.tree_.predict(wanted)[:, 0] for t in trees.estimators_], axis=1)  # (candidates, trees)
        doubts = np.full(len(costs), DOUBT * noise)
        return np.mean([expected_gain(costs, p, doubts, np.array(points)) for p in predicted.T], axis=0)

    def _trees(self, known: list[Known], rng: np.random.Generator) -> tuple[ExtraTreesRegressor, float]:
        """The values as trees over the parameters and the cost; what failed or was stopped counts as low."""
        settled = {k.key for k in known if k.value is not None or k.pending}
        learnt = [k for k in known if k.value is not None or (not k.pending and k.key not in settled)]
        values = _levelled(learnt)
        many = len(learnt) > LEARNT
        trees = ExtraTreesRegressor(
            TREES,
            max_features=0.7,
            bootstrap=many,
            max_samples=LEARNT if many else None,
            random_state=int(rng.integers(2**31)),
        )
        return trees.fit(np.stack([k.features for k in learnt]), values), values.std()

    def _features(self, points: list[Params], costs: Sequence[float]) -> np.ndarray:
        columns = [axis.features([p.get(name) for p in points]) for name, axis in self._axes.items()]
        return np.column_stack([*columns, _log(costs)]).astype(np.float32)  # (points, features)


class _Tried:
    """The points that were asked before. One that has fewer parameters stands for all that agree with it in those."""

    def __init__(self, known: list[Known]):
        self.points = [k.params for k in known]
        self._values: dict[tuple, set[tuple]] = {}
        for params in self.points:
            names = tuple(sorted(params))
            self._values.setdefault(names, set()).add(tuple(params[n] for n in names))

    def __contains__(self, params: Params) -> bool:
        return any(
            len(names) <= len(params) and all(n in params for n in names) and tuple(params[n] for n in names) in values
            for names, values in self._values.items()
        )


def _log(costs: Sequence[float]) -> np.ndarray:
    return np.arcsinh(np.asarray(costs, dtype=float))  # a logarithm that also takes a cost of nothing


def _spread(costs: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Indices of `costs`, that which lies farthest from all those `taken` first."""
    if len(taken) == 0:
        return np.arange(len(costs))
    return np.argsort(-np.abs(_log(costs)[:, None] - _log(taken)).min(axis=1), kind="stable")


def _levelled(learnt: list[Known]) -> np.ndarray:
    """The values, where none is lower than what is certain not to matter: the front's range below its lowest."""
    known = np.array([(k.cost, k.value) for k in learnt if k.value is not None])
    front = known[_front(known), 1]
    floor = front.min() - np.ptp(front) if len(front) > 1 else known[:, 1].min()
    return np.array([floor if k.value is None else max(k.value, floor) for k in learnt])


def _front(known: np.ndarray) -> np.ndarray:
    """Indices of the rows `(cost, value)` that no other dominates, cheapest first; one of equal rows."""
    order = np.lexsort((-known[:, 1], known[:, 0]))
    best = np.maximum.accumulate(known[order, 1])
    return order[np.append(True, known[order[1:], 1] > best[:-1])]


def expected_gain(costs: np.ndarray, means: np.ndarray, spreads: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Gain in hypervolume to be expected of points at `costs` with normal values, beyond the `known` rows `(cost, value)`.

    Values are scaled by the known front's range and costs by that of all known points, so that a dear point which beats none
    yet does not end the front; the reference point lies at 1.1.
    """
    front = known[_front(known)] * (1, -1)
    ideal = front.min(axis=0)
    span = np.array([known[:, 0].max() - ideal[0], np.ptp(front[:, 1])])
    span[span == 0] = np.abs(ideal[span == 0]) + 1e-12
    front = (front - ideal) / span
    x, y, spread = (costs - ideal[0]) / span[0], (-means - ideal[1]) / span[1], spreads / span[1] + 1e-9
    edges = np.array([min(0.0, x.min()), *front[:, 0], REFERENCE])
    heights = np.array([REFERENCE, *front[:, 1]])
    widths = np.clip(edges[1:] - np.maximum(edges[:-1], x[:, None]), 0, None)  # (points, steps)
    z = (heights - y[:, None]) / spread[:, None]
    falls = spread[:, None] * (z * ndtr(z) + np.exp(-z * z / 2) / math.sqrt(2 * math.pi))  # expected max(0, height - y)
    return (widths * falls).sum(axis=1)  # (points,)
