"""A run of many trials that nobody trained, for measuring what reading and showing it costs.

    python experiments/report/synthetic.py --trials 10000 --out runs/synthetic

Architectures are random affordable ones of search_spaces/hybrid.yaml; accuracies follow a made-up rule with noise, and some
trials fail, stop at a rung or were rejected. Nothing here says anything about networks.
"""

import argparse
import json
import math
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from nas.run.folder import open_folder
from nas.run.settings.search import Search, read_search
from nas.search.study import Study
from nas.space.architecture import Architecture
from nas.space.constraints import random_architecture

SPACE = Path(__file__).parents[2] / "search_spaces" / "hybrid.yaml"
WORTH = {"pool": 0.0, "identity": -0.02, "random": 0.01, "conv": 0.02, "attention": 0.03, "spatial_fc": 0.015}
CAUSES = ("diverged: loss nan at epoch 2", "out of memory: asked for 3.1 GB", "machine: the worker was killed")
MANIFEST = {"data": "made up", "class_names": ["a", "b"], "train": [], "validation": [["", 0], ["", 1]] * 1000}
OPTUNA_STATES = {"complete": "COMPLETE", "stopped": "PRUNED", "failed": "PRUNED", "rejected": "PRUNED"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    synthesise(given.out, trials=given.trials, seed=given.seed)


def synthesise(root: Path, *, trials: int, seed: int, settings: tuple[str, ...] = ()) -> None:
    """Write a run of `trials` made-up trials, rejected proposals beside them, into the new folder `root`."""
    search = read_search(SPACE, settings=[f"search.trials={trials}", "baselines=[]", *settings])
    folder = open_folder(root, search)
    Study(search, folder, manifest_hash="synthetic").close()
    folder.manifest.write_text(json.dumps(MANIFEST), encoding="utf-8")
    rng, now = random.Random(seed), datetime.now(UTC).replace(tzinfo=None)
    with closing(sqlite3.connect(folder.study_db)) as connection, connection:
        drawn = _until(trials, search, rng)
        for number, (facts, seconds) in enumerate(drawn):
            ended = now + timedelta(seconds=10 * number + seconds)
            state = OPTUNA_STATES[facts["state"]]
            row = connection.execute(
                "INSERT INTO trials (number, study_id, state, datetime_start, datetime_complete) VALUES (?, 1, ?, ?, ?)",
                (number, state, str(now + timedelta(seconds=10 * number)), str(ended)),
            )
            connection.executemany(
                "INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (?, ?, ?)",
                [(row.lastrowid, name, json.dumps(value)) for name, value in facts.items()],
            )


def _until(trials: int, search: Search, rng: random.Random) -> Iterator[tuple[dict, float]]:
    trained = 0
    while trained < trials:
        facts, seconds = _trial(random_architecture(search.space, rng), search, rng)
        trained += facts["state"] != "rejected"
        yield facts, seconds


def _trial(architecture: Architecture, search: Search, rng: random.Random) -> tuple[dict, float]:
    cost = search.cost(architecture)
    facts = {"key": architecture.key, "seed": 0, "manifest": "synthetic", "architecture": architecture.to_dict()}
    facts |= cost.by_name()
    excess = search.constraints.excess(cost)
    if excess:
        broken = ", ".join(f"{name} {value:.0%} outside its limit" for name, value in excess.items())
        return {**facts, "cause": broken, "state": "rejected"}, 0.0
    worth = sum(i * WORTH[s.mixer] for i, s in enumerate(architecture.stages, start=1)) / 4
    final = 0.55 + 0.12 * math.log10(cost.macs / 3e8) + worth + rng.gauss(0, 0.01)
    fate, epochs = rng.random(), search.proxy.epochs
    last = 2 if fate < 0.04 else 3 if fate < 0.3 else epochs
    curve = [_epoch(e, final * (1 - 0.6 * math.exp(-0.6 * e)), seconds=2.0 + cost.macs / 1e9) for e in range(1, last + 1)]
    facts |= {"curve": curve, "seconds": round(last * (2.0 + cost.macs / 1e9), 3)}
    if fate < 0.04:
        return {**facts, "cause": rng.choice(CAUSES), "state": "failed"}, facts["seconds"]
    if fate < 0.3:
        return {**facts, "cause": "stopped at a rung", "state": "stopped"}, facts["seconds"]
    return {**facts, "accuracy": curve[-1]["accuracy"], "state": "complete"}, facts["seconds"]


def _epoch(epoch: int, accuracy: float, *, seconds: float) -> dict:
    return {
        "epoch": epoch,
        "accuracy": accuracy,
        "loss": 2 - accuracy,
        "train_loss": 2 - accuracy,
        "lr": 1e-3,
        "seconds": seconds,
        "steps": 10,
    }


if __name__ == "__main__":
    main()
