"""A sampler that proposes whole points whose cost is known before, never one twice; what it proposes, its children decide."""

import operator
from abc import abstractmethod
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial

from nas.errors import NasError
from nas.search.samplers.axes import Params
from nas.search.samplers.domain import Tried
from nas.search.samplers.history import PLAN, History, Observation

WHY = "why"  # the user attribute in which a trial says why it was proposed
REPEATED = "Every point of the space was tried: one is repeated, and the study stops."


class Candidate(NamedTuple):
    """A point that may be proposed, and why: how it came about, from which trials, what is expected of it."""

    params: Params
    why: dict[str, Any]


class PointSampler(BaseSampler):
    """Proposes points of `history.space` for a study that maximises an expensive value and minimises costs known beforehand.

    A child must define `ranked`, and may override `__init__` to take settings of its own. The three methods that Optuna calls
    (`infer_relative_search_space`, `sample_relative`, `sample_independent`) must stay as they are: they see to it that no
    point is proposed twice and that a point which the user has queued comes first. A child must not keep anything from one
    question to the next: a search that is killed goes on from the study and the seed alone.
    """

    def __init__(self, history: History, *, seed: int):
        self._history, self._domain, self._seed = history, history.domain, seed
        self._others = RandomSampler(seed=seed)

    @abstractmethod
    def ranked(self, observations: list[Observation], rng: np.random.Generator) -> list[Candidate]:
        """Candidates for the next point, the best first; at least one, and of each the domain knows a cost."""

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The whole space: a point is proposed as one, and the parameters that are not asked for stay unused."""
        return self._history.space

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> Params:
        """The point to evaluate next; nothing where the user has queued one."""
        directions = [d.name for d in study.directions]
        if len(directions) < 2 or directions != ["MAXIMIZE", *["MINIMIZE"] * (len(directions) - 1)]:
            raise NasError(f'{type(self).__name__} needs a study with directions ["maximize", "minimize"].')
        if set(self._history.space) <= set(trial.system_attrs.get("fixed_params", {})):
            return {}
        observations = self._history.observations([t for t in study.get_trials(deepcopy=False) if t.number != trial.number])
        chosen = self._chosen(observations, len(directions) - 1)
        if chosen is None:
            return self._repeated(study)
        study._storage.set_trial_system_attr(trial._trial_id, PLAN, chosen.params)
        study._storage.set_trial_user_attr(trial._trial_id, WHY, chosen.why)
        return chosen.params

    def _chosen(self, observations: list[Observation], num_costs: int) -> Candidate | None:
        """The best candidate that is untried, or any untried point, or None."""
        rng = np.random.default_rng([self._seed, len(observations)])
        tried = self._tried(observations)
        candidates = self.ranked(observations, rng)
        costs = self._domain.costs(candidates[0].params)
        if costs is None or len(costs) != num_costs:
            raise NasError(f"the cost function must give {num_costs} numbers for this study, but gave {costs}.")
        for candidate in candidates:
            if (active := self._domain.active(candidate.params)) not in tried:
                return Candidate(candidate.params, {**candidate.why, **_changes(candidate, active, observations)})
        spare = self._domain.untried(tried, rng)
        return None if spare is None else Candidate(spare, {"by": "untried"})

    def _tried(self, observations: list[Observation]) -> Tried:
        """Their points; worked out once for one list of them."""
        return self._history.once("tried", observations, lambda: Tried(k.key for k in observations), serves=operator.is_)

    def _repeated(self, study: optuna.Study) -> Params:
        optuna.logging.get_logger("optuna").warning(REPEATED)
        with suppress(RuntimeError):  # outside of `optimize` there is nothing to stop
            study.stop()
        return self._domain.draw(np.random.default_rng(self._seed))

    def sample_independent(self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: Any) -> Any:
        """A random value for a parameter that the space lacks."""
        return self._others.sample_independent(study, trial, param_name, param_distribution)


def _changes(candidate: Candidate, active: Params, observations: list[Observation]) -> dict[str, Any]:
    """What distinguishes a candidate from its first parent: `{name: [before, now]}`."""
    parents = candidate.why.get("parents")
    if not parents:
        return {}
    before = next(point.params for point in observations if point.number == parents[0])
    return {"changes": {n: [before.get(n), v] for n, v in active.items() if before.get(n) != v}}
