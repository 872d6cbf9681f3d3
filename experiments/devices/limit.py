"""A search under a limit in milliseconds beside one by MACs that is measured afterwards, at equal trainings.

    python experiments/devices/limit.py search --device-file devices/laptop.json --limit 12 --out runs/limit --seeds 0 1 2
    python experiments/devices/limit.py measure --device-file devices/laptop.json --limit 12 --out runs/limit --seeds 0 1 2

The MACs search is limited to what networks of the limit's milliseconds have, the median of random ones. `measure` times every
network that was trained in full, of both searches of a seed in one run, and prints the share of the box from no time to the
limit and from accuracy 1 to 0 that each search's networks dominate.
"""

import argparse
import random
import subprocess
import sys
from pathlib import Path

import numpy as np

from nas.devices.device_file import DeviceFile, read_device_file
from nas.devices.measuring import check_same_machine, times_of
from nas.devices.rounds import Budget
from nas.pareto import hypervolume_of, pareto
from nas.run.reading import read
from nas.run.record import TrialState
from nas.run.settings.search import read_search
from nas.space.constraints import random_architecture

QUICK = [
    "search.cache=false",
    "baselines=[]",
    "proxy.images_per_class=100",
    "proxy.image_size=40",
    "proxy.epochs=3",
    "proxy.rungs=[1]",
]
DRAWS = 3000
NEAR = 0.05  # relative to the limit
ANCHORS = 10  # of the file's networks, measured again


def macs_at(file: DeviceFile, limit: float, space: str) -> int:
    """The median MACs of random networks that are foretold to take about the limit's milliseconds."""
    whole, rng = read_search(space).space, random.Random(0)
    drawn = [random_architecture(whole, rng) for _ in range(DRAWS)]
    near = [whole.cost(a).macs for a in drawn if abs(file.estimate(a).value / limit - 1) < NEAR]
    return int(np.median(near))


def search(asked: argparse.Namespace) -> None:
    """Both searches of each seed."""
    file = read_device_file(asked.device_file)
    macs = macs_at(file, asked.limit, asked.space)
    by_latency = [f"devices.here={asked.device_file}", "objectives=[accuracy,latency_ms@here]"]
    by_latency += [f"constraints.latency_ms.here={asked.limit}", "constraints.macs={min: 0, max: 10G}"]
    kinds = {"latency": by_latency, "macs": [f"constraints.macs={{min: 0, max: {macs}}}"]}
    for seed in asked.seeds:
        for kind, settings in kinds.items():
            words = [word for setting in (*settings, *QUICK) for word in ("--set", setting)]
            out = ["--out", str(asked.out / f"{kind}{seed}"), "--seed", str(seed), "--trials", str(asked.trials)]
            subprocess.run([sys.executable, "-m", "nas", "search", asked.space, *words, *out], check=True)


def measure(asked: argparse.Namespace) -> None:
    """A line a seed."""
    file = read_device_file(asked.device_file)
    check_same_machine(file, where=str(asked.device_file))
    anchors = sorted(file.networks, key=lambda network: network.latency_ms)[:: len(file.networks) // ANCHORS]
    for seed in asked.seeds:
        runs = {kind: read(asked.out / f"{kind}{seed}") for kind in ("latency", "macs")}
        done = {kind: [r for r in run.records if r.state == TrialState.COMPLETE] for kind, run in runs.items()}
        networks = [record.architecture for records in done.values() for record in records]
        beside = [anchor.architecture for anchor in anchors]
        times = times_of(
            [*networks, *beside], file.conditions, num_classes=file.num_classes, budget=Budget(seconds=asked.seconds)
        )
        now = np.array([each.timed.ms for each in times])
        speed = np.median([anchor.latency_ms for anchor in anchors] / now[len(networks) :])
        ms = dict(zip(("latency", "macs"), np.split(speed * now[: len(networks)], [len(done["latency"])]), strict=True))
        parts = []
        for kind, records in done.items():
            points = np.array([(t / asked.limit, 1 - r.accuracy) for t, r in zip(ms[kind], records, strict=True)])
            able = points[points[:, 0] <= 1]
            volume = hypervolume_of(able[pareto(able)], [1.0, 1.0])
            trained = sum(r.had_its_chance for r in runs[kind].records)
            parts.append(
                f"{kind}: {trained} trained, {len(records)} in full, {volume:.4f}, above the limit {sum(points[:, 0] > 1)}"
            )
        chosen = pareto([(r.cost.of("latency_ms@here"), 1 - r.accuracy) for r in done["latency"]])
        above = sum(ms["latency"][i] > asked.limit for i in chosen)
        guesses = np.array([r.cost.of("latency_ms@here") for r in done["latency"]])
        error = np.median(np.abs(guesses / ms["latency"] - 1))
        print(f"seed {seed}: {'; '.join(parts)}; on the latency search's front {len(chosen)}, above the limit {above}; "
              f"foretold to ±{error:.1%}; the machine ran at {1 / speed:.2f} of the file's times", flush=True)  # fmt: skip


def main() -> None:
    """Search, or measure what was searched."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["search", "measure"])
    parser.add_argument("--space", default="hybrid")
    parser.add_argument("--device-file", type=Path, required=True)
    parser.add_argument("--limit", type=float, default=12.0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=150.0)
    asked = parser.parse_args()
    {"search": search, "measure": measure}[asked.what](asked)


if __name__ == "__main__":
    main()
