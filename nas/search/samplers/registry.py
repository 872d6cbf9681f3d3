"""Samplers by their names in the settings, Optuna's own among them, and how a choice of a space is put to them.

A sampler is asked one question and thrown away: for each question one is made anew, by a function of the question's seed.
What it proposes must follow from that seed and from the study alone. What it may share with the samplers before it is what
would be worked out again from the study's own trials (`History`).
"""

from collections.abc import Callable
from importlib import import_module
from itertools import pairwise
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler

from nas.run.settings.search import Search
from nas.run.settings.sections import SAMPLERS
from nas.search.samplers.history import History

STARTUP_TRIALS = 12  # random proposals of TPE before its model takes over; ten axes are open in most stages
POPULATION = 20  # of NSGA-II

SamplerMaker = Callable[[int], BaseSampler]
"""Makes the sampler of one question from the question's seed."""


def sampler_maker(search: Search, history: History) -> SamplerMaker:
    """What makes the samplers of a search, as its settings name them; they read its trials through one `history`."""
    module, _, function = SAMPLERS[search.sampler].partition(":")
    return getattr(import_module(module), function)(search, history)


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


def make_tpe(search: Search, history: History) -> SamplerMaker:
    """Tree-structured Parzen estimators of whole points (Optuna's TPESampler)."""
    return lambda seed: TPESampler(multivariate=True, group=True, n_startup_trials=STARTUP_TRIALS, seed=seed)


def make_nsga2(search: Search, history: History) -> SamplerMaker:
    """The genetic algorithm NSGA-II (Optuna's NSGAIISampler)."""
    return lambda seed: NSGAIISampler(population_size=POPULATION, seed=seed)


def make_random(search: Search, history: History) -> SamplerMaker:
    """Each choice uniform."""
    return lambda seed: RandomSampler(seed=seed)
