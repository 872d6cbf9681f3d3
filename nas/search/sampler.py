"""Who proposes: Optuna's samplers by name, and how a choice of a space is put to them."""

from itertools import pairwise
from typing import Any

import optuna
from optuna.samplers import NSGAIISampler, RandomSampler, TPESampler

STARTUP_TRIALS = 12  # random proposals before the model takes over; ten axes are open in most stages

SAMPLERS = {
    "tpe": lambda seed: TPESampler(multivariate=True, group=True, n_startup_trials=STARTUP_TRIALS, seed=seed),
    "random": lambda seed: RandomSampler(seed=seed),
    "nsga2": lambda seed: NSGAIISampler(population_size=20, seed=seed),
}


def suggest(trial: optuna.Trial, name: str, options: tuple) -> Any:
    """Optuna's choice among `options`; evenly spaced integers as an integer range, so that samplers see their order."""
    steps = {b - a for a, b in pairwise(options)} if all(type(o) is int for o in options) else set()
    if len(steps) == 1 and min(steps) > 0:
        return trial.suggest_int(name, options[0], options[-1], step=steps.pop())
    return trial.suggest_categorical(name, options)
