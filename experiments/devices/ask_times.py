"""What a device file costs the driver: CPU milliseconds of an ask by latency over those of one by MACs, in turns.

python experiments/devices/ask_times.py --device-file devices/laptop.json --trials 40 400
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import optuna

from nas.run.settings.search import Search, read_search
from nas.search.samplers.front import make_front
from nas.search.samplers.knowledge import history_of
from nas.search.samplers.registry import distribution, suggest

sys.path.insert(0, str(Path(__file__).parents[1] / "searchers"))
from ask_times import Space, filled

ASKS = 15


def space_of(search: Search) -> Space:
    """Points of the search's space, made-up accuracies, the costs that it weighs, and its sampler."""

    def point(choose):
        architecture = search.space.draw(choose)
        cost = search.cost(architecture).of(search.objectives[1])
        accuracy = 1.0 - 1.0 / np.log(search.space.cost(architecture).macs)
        return search.space.choices(architecture), [accuracy, cost]

    axes = {name: distribution(options) for name, options in search.space.axes.items()}
    return Space(point, axes, {"front": lambda: make_front(search, history_of(search))(0)})


def ask_seconds(search: Search, study: optuna.Study) -> float:
    """CPU seconds of one ask with all its parameters; it ends as failed, so that nothing is learnt from it."""
    study.sampler = make_front(search, history_of(search))(len(study.trials))
    start = time.process_time()
    trial = study.ask()
    search.space.draw(lambda name, options: suggest(trial, name, options))
    took = time.process_time() - start
    study.tell(trial, state=optuna.trial.TrialState.FAIL)
    return took


def main() -> None:
    """Print a line a number of trials."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device-file", type=Path, required=True)
    parser.add_argument("--space", default="hybrid")
    parser.add_argument("--trials", type=int, nargs="+", default=[40, 400])
    asked = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    by_latency = [f"devices.here={asked.device_file}", "objectives=[accuracy,latency_ms@here]"]
    searches = {"macs": read_search(asked.space), "latency": read_search(asked.space, settings=by_latency)}
    for trials in asked.trials:
        spaces = {kind: space_of(search) for kind, search in searches.items()}
        studies = {kind: filled(space, space.samplers["front"](), trials, None) for kind, space in spaces.items()}
        taken: dict[str, list[float]] = {kind: [] for kind in searches}
        for _ in range(ASKS):
            for kind, search in searches.items():
                taken[kind].append(ask_seconds(search, studies[kind]))
        ms = {kind: 1000 * statistics.median(seconds) for kind, seconds in taken.items()}
        first = {kind: 1000 * seconds[0] for kind, seconds in taken.items()}
        print(
            f"{trials} trials: an ask takes {ms['macs']:.0f} ms by MACs and {ms['latency']:.0f} by latency, "
            f"{ms['latency'] / ms['macs']:.2f} times as long (the first {first['macs']:.0f} and {first['latency']:.0f})"
        )


if __name__ == "__main__":
    main()
