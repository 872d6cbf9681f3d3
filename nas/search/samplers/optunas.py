"""Optuna's own samplers, by which ours is measured."""

from optuna.samplers import NSGAIISampler, RandomSampler, TPESampler

from nas.run.settings import Search
from nas.search.samplers.history import History
from nas.search.samplers.registry import SamplerMaker

STARTUP_TRIALS = 12  # random proposals before the model takes over; ten axes are open in most stages
POPULATION = 20


def make_tpe(search: Search, history: History) -> SamplerMaker:
    """Tree-structured Parzen estimators of whole points (Optuna's TPESampler)."""
    return lambda seed: TPESampler(multivariate=True, group=True, n_startup_trials=STARTUP_TRIALS, seed=seed)


def make_nsga2(search: Search, history: History) -> SamplerMaker:
    """The genetic algorithm NSGA-II (Optuna's NSGAIISampler)."""
    return lambda seed: NSGAIISampler(population_size=POPULATION, seed=seed)


def make_random(search: Search, history: History) -> SamplerMaker:
    """Each choice uniform."""
    return lambda seed: RandomSampler(seed=seed)
