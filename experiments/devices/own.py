"""How well a device file of this machine foretells networks that it never saw: 80 measured, 100 others, all in turns at once.

    python experiments/devices/own.py --runtime torch --image-size 224 --minutes 4 --out torch_224.json
    python experiments/devices/own.py --times torch_224.json      # the same networks' times again, nothing measured

The 100 are random ones of another seed. They are measured twice, so that the machine's own repeatability stands beside.
"""

import argparse
import json
import random
import time
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau

from nas.devices.conditions import Conditions
from nas.devices.device_file import Timing
from nas.devices.measure import fingerprint
from nas.devices.measuring import device_file_of, times_of
from nas.devices.rounds import Budget
from nas.devices.sampling import informative
from nas.run.settings.search import read_search
from nas.space.architecture import Architecture
from nas.space.constraints import random_architecture
from nas.space.search_space import SearchSpace

NUMBERS = (10, 20, 40, 80)  # measured networks


def measured(asked: argparse.Namespace, space: SearchSpace, conditions: Conditions) -> dict:
    """Networks to learn from and others, the others twice, with their times; written where that was asked for."""
    rng = random.Random(1234)
    others = [random_architecture(space, rng) for _ in range(asked.others)]
    chosen = informative(space, asked.networks, seed=1)
    networks, began = [*chosen, *others, *others], time.monotonic()
    budget = Budget(seconds=60 * asked.minutes)
    times = times_of(networks, conditions, num_classes=space.num_classes, budget=budget)
    rows = [{"architecture": a.to_dict(), "ms": t.timed.ms} for a, t in zip(networks, times, strict=True)]
    facts = {
        "runtime": asked.runtime,
        "image_size": asked.image_size,
        "seconds": time.monotonic() - began,
        "others": len(others),
    }
    data = {**facts, "machine": fingerprint(conditions), "rows": rows}
    if asked.out is not None:
        asked.out.write_text(json.dumps(data))
    return data


def show(data: dict, space: SearchSpace, conditions: Conditions) -> None:
    """Repeatability, then a line for each number of measured networks."""
    networks = [Architecture.model_validate(row["architecture"]) for row in data["rows"]]
    ms, number = np.array([row["ms"] for row in data["rows"]]), data["others"]
    first, again = ms[-2 * number : -number], ms[-number:]
    others, truth = networks[-number:], np.sqrt(first * again)
    macs, apart = [space.cost(a).macs for a in others], np.abs(first / again - 1)
    head = f"{data['image_size']} px, {data['runtime']}, {data['machine']['model']}, one thread; {data['seconds']:.0f} s in all"
    print(f"{head}\ntwo measurements of the same {number}: tau {kendalltau(first, again)[0]:.3f}, {spread(apart)}")
    for most in NUMBERS:
        timings = [Timing(architecture=a, latency_ms=t, low=t, high=t) for a, t in zip(networks[:most], ms[:most], strict=True)]
        file = device_file_of(timings, space, conditions, machine=data["machine"])
        estimates = [file.estimate(architecture) for architecture in others]
        guesses = np.array([estimate.value for estimate in estimates])
        pairs = list(zip(estimates, truth, strict=True))
        inside, below = np.mean([e.low <= t <= e.high for e, t in pairs]), np.mean([t <= e.high for e, t in pairs])
        tau = f"tau {kendalltau(guesses, truth)[0]:.3f} (MACs {kendalltau(macs, truth)[0]:.3f})"
        where = f"{inside:.2f} inside their intervals, {below:.2f} below the upper end"
        print(f"{most:3} measured: {spread(np.abs(guesses / truth - 1))}, {tau}, {where}", flush=True)


def spread(errors: np.ndarray) -> str:
    """The middle one of relative errors, and that which nine in ten stay below."""
    return f"median error {np.median(errors):.3f}, 90 % within {np.quantile(errors, 0.9):.3f}"


def main() -> None:
    """Measure, or read what was measured; fit; compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="hybrid")
    parser.add_argument("--runtime", default="torch")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--networks", type=int, default=80)
    parser.add_argument("--others", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--times", type=Path)
    asked = parser.parse_args()
    earlier = None if asked.times is None else json.loads(asked.times.read_text())
    size, runtime = (asked.image_size, asked.runtime) if earlier is None else (earlier["image_size"], earlier["runtime"])
    space = read_search(asked.space, settings=[f"space.image_size={size}"]).space
    conditions = Conditions(runtime=runtime, image_size=size, batch=1, threads=1)
    show(earlier or measured(asked, space, conditions), space, conditions)


if __name__ == "__main__":
    main()
