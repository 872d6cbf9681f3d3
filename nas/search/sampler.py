"""Who proposes: samplers by name, and how a choice of a space is put to them."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler

from nas.search.front_sampler import FrontSampler
from nas.search.settings import Search
from nas.space.architecture import Architecture

STARTUP_TRIALS = 12  # random proposals before the model takes over; ten axes are open in most stages


def _front(search: Search) -> Callable[[int], BaseSampler]:
    space = search.space

    def built(params: dict[str, Any]) -> Architecture:
        return space.draw(lambda name, options: params[name])

    def cost(params: dict[str, Any]) -> float | None:
        found = space.cost(built(params))
        return getattr(found, search.objectives[1]) if search.constraints.allow(found) else None

    axes = {name: distribution(options) for name, options in space.axes.items()}
    sampler = FrontSampler(axes, cost, seed=search.search.seed, active=lambda params: space.choices(built(params)))
    return lambda seed: sampler  # it keeps nothing that would change what it proposes, and need not read the study twice


SAMPLERS: dict[str, Callable[[Search], Callable[[int], BaseSampler]]] = {  # for a search what makes a sampler from a seed
    "tpe": lambda search: lambda seed: TPESampler(multivariate=True, group=True, n_startup_trials=STARTUP_TRIALS, seed=seed),
    "random": lambda search: lambda seed: RandomSampler(seed=seed),
    "nsga2": lambda search: lambda seed: NSGAIISampler(population_size=20, seed=seed),
    "front": _front,
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
