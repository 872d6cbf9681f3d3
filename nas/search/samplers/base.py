"""A sampler that proposes whole points whose cost is known before, never one twice; what it proposes, its children decide."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial

from nas.errors import NasError
from nas.search.samplers.axes import Params
from nas.search.samplers.domain import Cost, Domain, Tried
from nas.search.samplers.history import PLAN, Early, History, Known

WHY = "why"  # the user attribute in which a trial says why it was proposed
REPEATED = "Every point of the space was tried: one is repeated, and the study stops."


class Candidate(NamedTuple):
    """A point that may be proposed, and why: how it came about, from which trials, what is expected of it."""

    params: Params
    why: dict[str, Any]


def nothing_early(trial: FrozenTrial) -> Early:
    """No rungs."""
    return ()


def none_void(trial: FrozenTrial) -> bool:
    """Every trial counts: one that failed says that its point is bad."""
    return False


class PointSampler(BaseSampler):
    """Proposes points of `space` for a study that maximises an expensive value and minimises what `cost(params)` gives.

    `cost` gets every parameter of `space` and gives a number, or one for each further objective of the study, or None for what
    shall never be proposed. `active(params)` gives those parameters that the objective will ask for, where some depend on
    others. `early(trial)` gives what a trial showed at each rung that it reached; `void(trial)` says that a trial tells nothing
    of its point, which may come again: a machine failed.
    """

    def __init__(
        self,
        space: dict[str, BaseDistribution],
        cost: Cost,
        *,
        seed: int,
        active: Callable[[Params], Params] = dict,
        early: Callable[[FrozenTrial], Early] = nothing_early,
        void: Callable[[FrozenTrial], bool] = none_void,
    ):
        self._space, self._seed = space, seed
        self._domain = Domain(space, cost, active=active)
        self._history = History(self._domain, early=early, void=void)
        self._others = RandomSampler(seed=seed)

    def _ranked(self, known: list[Known], rng: np.random.Generator) -> list[Candidate]:
        """Candidates for the next point, the best first."""
        raise NotImplementedError

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The whole space: a point is proposed as one, and the parameters that are not asked for stay unused."""
        return self._space

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> Params:
        """The point to evaluate next; nothing where the user has queued one."""
        directions = [d.name for d in study.directions]
        if len(directions) < 2 or directions != ["MAXIMIZE", *["MINIMIZE"] * (len(directions) - 1)]:
            raise NasError(f'{type(self).__name__} needs a study with directions ["maximize", "minimize"].')
        if set(self._space) <= set(trial.system_attrs.get("fixed_params", {})):
            return {}
        known = self._history.known([t for t in study.get_trials(deepcopy=False) if t.number != trial.number])
        chosen = self._chosen(known, len(directions) - 1)
        if chosen is None:
            return self._repeated(study)
        study._storage.set_trial_system_attr(trial._trial_id, PLAN, chosen.params)
        study._storage.set_trial_user_attr(trial._trial_id, WHY, chosen.why)
        return chosen.params

    def _chosen(self, known: list[Known], num_costs: int) -> Candidate | None:
        """The best candidate that is untried, or any untried point, or None."""
        rng = np.random.default_rng([self._seed, len(known)])
        tried = Tried(k.params for k in known)
        ranked = self._ranked(known, rng)
        if len(given := self._domain.costs(ranked[0].params)) != num_costs:
            raise NasError(f"the cost function must give {num_costs} numbers for this study, but gave {given}.")
        for candidate in ranked:
            if (active := self._domain.active(candidate.params)) not in tried:
                return Candidate(candidate.params, {**candidate.why, **_changes(candidate, active, known)})
        spare = self._domain.untried(tried, rng)
        return None if spare is None else Candidate(spare, {"by": "untried"})

    def _repeated(self, study: optuna.Study) -> Params:
        optuna.logging.get_logger("optuna").warning(REPEATED)
        with suppress(RuntimeError):  # outside of `optimize` there is nothing to stop
            study.stop()
        return self._domain.draw(np.random.default_rng(self._seed))

    def sample_independent(self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: Any) -> Any:
        """A random value for a parameter that the space lacks."""
        return self._others.sample_independent(study, trial, param_name, param_distribution)


def _changes(candidate: Candidate, active: Params, known: list[Known]) -> dict[str, Any]:
    """What distinguishes a candidate from its first parent: `{name: [before, now]}`."""
    parents = candidate.why.get("parents")
    if not parents:
        return {}
    before = next(k.params for k in known if k.number == parents[0])
    return {"changes": {n: [before.get(n), v] for n, v in active.items() if before.get(n) != v}}
