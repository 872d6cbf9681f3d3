"""How long a sampler takes to answer: median milliseconds of an ask after so many finished trials, 25 axes of four options.

python experiments/searchers/ask_times.py --trials 1000 10000
"""

import argparse
import resource
import time

import numpy as np
import optuna
from optuna.distributions import IntDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import create_trial

from nas.search.evolution_sampler import EvolutionSampler
from nas.search.front_sampler import FrontSampler

SPACE = {f"x{i}": IntDistribution(0, 3) for i in range(25)}
ASKS = 5


def cost(params: dict[str, int]) -> float:
    """A sum of all choices."""
    return 1.0 + sum(params.values())


SAMPLERS = {
    "front": lambda: FrontSampler(SPACE, cost, seed=0),
    "evolution": lambda: EvolutionSampler(SPACE, cost, seed=0),
    "tpe": lambda: TPESampler(multivariate=True, group=True, seed=0),
}


def filled(sampler: BaseSampler, trials: int, storage: str | None) -> optuna.Study:
    """A study of random finished trials."""
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler, storage=storage)
    rng = np.random.default_rng(0)
    for row in rng.integers(0, 4, (trials, len(SPACE))).tolist():
        params = dict(zip(SPACE, row, strict=True))
        value = sum((i % 5 + 1) * min(v, 2) for i, v in enumerate(row))
        study.add_trial(create_trial(params=params, distributions=SPACE, values=[value, cost(params)]))
    return study


def ask_ms(study: optuna.Study) -> tuple[float, float]:
    """The first ask, which reads the whole study, and the median of those after it."""
    times = []
    for _ in range(ASKS + 1):
        begun = time.perf_counter()
        trial = study.ask(SPACE)
        times.append(1000 * (time.perf_counter() - begun))
        study.tell(trial, [1.0, cost(trial.params)])
    return times[0], float(np.median(times[1:]))


def main() -> None:
    """Print a line a sampler and number of trials."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", nargs="+", type=int, default=[1000, 10_000])
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=list(SAMPLERS))
    parser.add_argument("--storage", help="such as sqlite:///asks.db; in memory without one")
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for name in given.samplers:
        for trials in given.trials:
            first, usual = ask_ms(filled(SAMPLERS[name](), trials, given.storage))
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"{name}: {trials:,} trials: first ask {first:.0f} ms, then {usual:.0f} ms; peak memory {peak:.0f} MB")


if __name__ == "__main__":
    main()
