"""How long a sampler takes to answer: CPU milliseconds of an ask after so many finished trials, and the memory of the process.

python experiments/searchers/ask_times.py --trials 1000 10000
python experiments/searchers/ask_times.py --trials 1000 --storage sqlite

`flat` has 25 axes of four options; `hybrid` is search_spaces/hybrid.yaml, in which many axes count only beside others.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, TPESampler
from optuna.trial import create_trial

from nas.run.settings.search import read_search
from nas.search.samplers import evolution, front
from nas.search.samplers.evolution import EvolutionSampler
from nas.search.samplers.front import FrontSampler
from nas.search.samplers.history import History
from nas.search.samplers.knowledge import history_of
from nas.search.samplers.registry import distribution, suggest

FLAT = {f"x{i}": IntDistribution(0, 3) for i in range(25)}
HYBRID = read_search(Path(__file__).parents[2] / "search_spaces" / "hybrid.yaml")
ASKS = 9
Params = dict[str, Any]
Choose = Callable[[str, tuple], Any]


def flat_cost(params: Params) -> float:
    """A sum of all choices."""
    return 1.0 + sum(params.values())


def flat_point(choose: Choose) -> tuple[Params, list[float]]:
    """A point of the flat space, its made-up value and its cost."""
    params = {name: choose(name, (0, 1, 2, 3)) for name in FLAT}
    return params, [float(sum((i % 5 + 1) * min(v, 2) for i, v in enumerate(params.values()))), flat_cost(params)]


def hybrid_point(choose: Choose) -> tuple[Params, list[float]]:
    """An architecture of the hybrid space as what was chosen, a made-up accuracy, and its MACs."""
    architecture = HYBRID.space.draw(choose)
    macs = HYBRID.space.cost(architecture).macs
    return HYBRID.space.choices(architecture), [1.0 - 1.0 / np.log(macs) + 0.02 * (macs % 997) / 997, macs]


class Space(NamedTuple):
    """What makes points of a space, its axes, and the samplers that are asked in it."""

    point: Callable[[Choose], tuple[Params, list[float]]]
    axes: dict[str, BaseDistribution]
    samplers: dict[str, Callable[[], BaseSampler]]


PEERS = {
    "tpe": lambda: TPESampler(multivariate=True, group=True, seed=0),
    "nsga2": lambda: NSGAIISampler(population_size=20, seed=0),
}
SPACES = {
    "flat": Space(
        flat_point,
        FLAT,
        {
            "front": lambda: FrontSampler(History(FLAT, flat_cost), seed=0),
            "evolution": lambda: EvolutionSampler(History(FLAT, flat_cost), seed=0),
            **PEERS,
        },
    ),
    "hybrid": Space(
        hybrid_point,
        {name: distribution(options) for name, options in HYBRID.space.axes.items()},
        {
            "front": lambda: front.make_front(HYBRID, history_of(HYBRID))(0),
            "evolution": lambda: evolution.make_evolution(HYBRID, history_of(HYBRID))(0),
            **PEERS,
        },
    ),
}


def filled(space: Space, sampler: BaseSampler, trials: int, storage: str | None) -> optuna.Study:
    """A study of random finished trials."""
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler, storage=storage)
    rng = np.random.default_rng(0)
    for _ in range(trials):
        params, values = space.point(lambda name, options: options[int(rng.integers(len(options)))])
        study.add_trial(create_trial(params=params, distributions={n: space.axes[n] for n in params}, values=values))
    return study


def ask_ms(space: Space, study: optuna.Study) -> tuple[float, float, float]:
    """CPU time of the first ask, which reads the whole study, and the median and the longest of those after it."""
    times = []
    for _ in range(ASKS + 1):
        begun = time.process_time()
        trial = study.ask()
        _, values = space.point(lambda name, options: suggest(trial, name, options))  # noqa: B023 (called at once)
        times.append(1000 * (time.process_time() - begun))
        study.tell(trial, values)
    return times[0], float(np.median(times[1:])), max(times[1:])


def main() -> None:
    """Print a line a space, sampler and number of trials."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", nargs="+", type=int, default=[1000, 10_000])
    parser.add_argument("--spaces", nargs="+", choices=SPACES, default=list(SPACES))
    parser.add_argument("--samplers", nargs="+", choices=SPACES["flat"].samplers, default=list(SPACES["flat"].samplers))
    parser.add_argument("--storage", choices=["memory", "sqlite"], default="memory")
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for name in given.spaces:
        for trials in given.trials:
            for sampler in given.samplers:
                with tempfile.TemporaryDirectory() as folder:
                    storage = f"sqlite:///{folder}/asks.db" if given.storage == "sqlite" else None
                    study = filled(SPACES[name], SPACES[name].samplers[sampler](), trials, storage)
                    first, usual, longest = ask_ms(SPACES[name], study)
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                told = f"first ask {first:.0f} ms, then {usual:.0f}, at most {longest:.0f} ms; peak memory so far {peak:.0f} MB"
                print(f"{name}, {trials:,} trials, {given.storage}, {sampler}: {told}", flush=True)


if __name__ == "__main__":
    main()
