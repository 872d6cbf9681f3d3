"""Who proposes: samplers by name, and how a choice of a space is put to them."""

import math
from collections.abc import Callable
from functools import lru_cache, partial
from itertools import pairwise, takewhile
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from nas.run.settings import Search
from nas.search.samplers.axes import Params
from nas.search.samplers.base import PointSampler
from nas.search.samplers.domain import Domain
from nas.search.samplers.evolution import EvolutionSampler
from nas.search.samplers.front import FrontSampler, start_at
from nas.search.samplers.history import History
from nas.space.cost import Cost
from nas.space.search_space import SearchSpace

STARTUP_TRIALS = 12  # random proposals before the model takes over; ten axes are open in most stages
BUILT = 20_000  # architectures that need not be built twice to know their cost
SIGNALS = ("accuracy", "loss", "train_loss")  # of an epoch, that foretell the final accuracy


def _knowledge(search: Search) -> dict[str, Any]:
    """What is known of a search's points beforehand and of its trials afterwards, as PointSampler takes it."""
    space, objectives = search.space, search.objectives[1:]
    built = lru_cache(BUILT)(lambda values: _built(space, dict(zip(space.axes, values, strict=True))))

    def found(params: Params) -> tuple[Cost, Params]:
        return built(tuple(params[name] for name in space.axes))

    def cost(params: Params) -> tuple[float, ...] | None:
        known, _ = found(params)
        return tuple(getattr(known, name) for name in objectives) if search.constraints.allow(known) else None

    return {
        "space": {name: distribution(options) for name, options in space.axes.items()},
        "cost": cost,
        "active": lambda params: found(params)[1],
        "early": partial(_shown, rungs=search.proxy.rungs),
        "void": _void,
    }


def _knowing_costs(kind: Callable[..., PointSampler], search: Search) -> Callable[[int], BaseSampler]:
    """What makes a sampler that is told beforehand what an architecture costs, and reads the record's curves."""
    sampler = kind(**_knowledge(search), seed=search.search.seed)
    return lambda seed: sampler  # it keeps nothing that would change what it proposes, and need not read the study twice


def _front(search: Search) -> Callable[[int], BaseSampler]:
    """The same of a FrontSampler, whose start grows where the first rung is cheap."""
    share = search.proxy.rungs[0] / search.proxy.epochs if search.proxy.rungs else 1.0
    return _knowing_costs(partial(FrontSampler, start=start_at(share, trials=search.search.trials)), search)


def history_of(search: Search) -> History:
    """A reader of the search's trials as points, whoever proposed them."""
    known = _knowledge(search)
    domain = Domain(known["space"], known["cost"], active=known["active"])
    return History(domain, early=known["early"], void=known["void"])


def _built(space: SearchSpace, params: Params) -> tuple[Cost, Params]:
    architecture = space.draw(lambda name, options: params[name])
    return space.cost(architecture), space.choices(architecture)


def _shown(trial: FrozenTrial, *, rungs: tuple[int, ...]) -> list[tuple[float, ...]]:
    """Accuracy and losses at each rung that a trial reached; of one that failed nothing: it is bad whatever it showed."""
    if trial.user_attrs.get("state") == "failed":
        return []
    reached = {e["epoch"]: [e[n] for n in SIGNALS if e.get(n) is not None] for e in trial.user_attrs.get("curve", ())}
    shown = takewhile(lambda signals: signals and all(map(math.isfinite, signals)), (reached.get(r) for r in rungs))
    return [tuple(signals) for signals in shown]


def _void(trial: FrozenTrial) -> bool:
    """Whether a trial says nothing of its architecture because it was never trained. One whose worker died each time counts as
    failed: asked for again and again it would end the search."""
    return trial.user_attrs.get("state") == "rejected"


SAMPLERS: dict[str, Callable[[Search], Callable[[int], BaseSampler]]] = {  # for a search what makes a sampler from a seed
    "front": _front,
    "evolution": partial(_knowing_costs, EvolutionSampler),
    "tpe": lambda search: lambda seed: TPESampler(multivariate=True, group=True, n_startup_trials=STARTUP_TRIALS, seed=seed),
    "nsga2": lambda search: lambda seed: NSGAIISampler(population_size=20, seed=seed),
    "random": lambda search: lambda seed: RandomSampler(seed=seed),
}


def distribution(options: tuple) -> BaseDistribution:
    """Optuna's name for a choice among `options`; evenly spaced integers are a range, so that samplers see their order."""
    steps = {b - a for a, b in pairwise(options)} if all(type(o) is int for o in options) else set()
    if len(steps) == 1 and min(steps) > 0:
        return IntDistribution(options[0], options[-1], step=steps.pop())
    return CategoricalDistribution(options)


def suggest(trial: optuna.Trial, name: str, options: tuple) -> Any:
    """Optuna's choice among `options`."""
    axis = distribution(options)
    if isinstance(axis, IntDistribution):
        return trial.suggest_int(name, axis.low, axis.high, step=axis.step)
    return trial.suggest_categorical(name, options)
