"""Does a teacher in the proxy find better networks? Searches with and without one, judged by long trainings of what they found.

    python experiments/discovery/teaching.py --data DIR --teacher runs/teacher --out FOLDER

DIR holds the fifty classes of MetaFormer-64 (../calibration/reference), whose teacher.py writes the teacher. Each search has 40
trainings of its space; four networks of its front, evenly over the logarithm of its MACs, are trained by long.yaml for 30
epochs with one seed and tested once, on images that no search saw. Searches are equal in trainings; the teacher is one more,
and a search with it takes longer the first time that a seed asks it. Every step goes on where an earlier call was killed;
--show prints what there is.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from discover import RESULT, TEMPERATURE, call_search, folder, jobs, spread, train
from scipy import stats

from nas.errors import NasError
from nas.files import write_whole
from nas.pareto import hypervolume_of, pareto
from nas.results.front import front, load
from nas.retraining.folder import Result
from nas.space.architecture import Architecture

HERE = Path(__file__).parent
SPACE = HERE.parent / "calibration" / "reference" / "metaformer64.yaml"
ARMS, SEEDS, TRIALS = ("plain", "taught"), (0, 1, 2), 40
LONG = ("classes=50", "epochs=30")
MOST_MACS = 12e6  # of the space: where the hypervolume ends, with an accuracy of 0
COLUMNS = ("arm", "search_seed", "key", "macs", "expected", "accuracy", "test_images", "stages")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--teacher", type=Path, required=True, help="what teacher.py wrote")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cpu", help="of the long trainings")
    parser.add_argument("--show", action="store_true")
    asked = parser.parse_args()
    if not asked.show:
        for seed in SEEDS:
            for arm in ARMS:
                search(arm, seed, asked)
        named = {each.key: each for each in networks_of(asked.out)["architecture"]}
        todo = jobs(named, recipe=str(HERE / "long.yaml"), settings=list(LONG), data=asked.data, place=asked.out / "long",
                    device=asked.device, seeds=(0,))  # fmt: skip
        train([job for job in todo if not (job.out / RESULT).exists()], workers=asked.workers)
    show(networks_of(asked.out), asked.out)


def search(arm: str, seed: int, asked: argparse.Namespace) -> None:
    """One search, begun or gone on with; its end is known by its own record."""
    files = {"teacher": "architecture.json", "weights": "weights.safetensors"}
    paths = {name: str((asked.teacher / file).resolve()) for name, file in files.items()}
    taught = f"proxy.distillation={json.dumps({**paths, 'temperature': TEMPERATURE})}"
    settings = [f"search.trials={TRIALS}", f"search.seed={seed}", "search.split_seed=0", "search.cache=false", "baselines=[]"]
    if arm == "taught":
        settings.append(taught)
    call_search(str(SPACE), settings, data=asked.data, out=asked.out / f"{arm}-{seed}")


def networks_of(out: Path) -> pd.DataFrame:
    """The chosen networks of every search that has begun."""
    tables = []
    for arm in ARMS:
        for seed in SEEDS:
            place = out / f"{arm}-{seed}"
            best = front(load(place)) if place.is_dir() else pd.DataFrame()
            if len(best):
                tables.append(best.loc[spread(best)].assign(arm=arm, search_seed=seed))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["architecture"])


def show(networks: pd.DataFrame, out: Path) -> None:
    """The long trainings as CSV, and the hypervolume of each search whose networks have all been trained."""
    rows = [row for _, network in networks.iterrows() if (row := row_of(network, out / "long"))]
    table = pd.DataFrame(rows, columns=COLUMNS)
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / "teaching.csv", table.to_csv(index=False, lineterminator="\n"))
    print(f"\n{out / 'teaching.csv'}: {len(table)} of {len(networks)} networks")
    counts = networks.groupby(["arm", "search_seed"]).size() if len(networks) else {}
    volumes = {at: volume(own) for at, own in table.groupby(["arm", "search_seed"]) if len(own) == counts[at]}
    for (arm, seed), reached in volumes.items():
        print(f"{arm}, seed {seed}: hypervolume {reached:.4f}")
    gains = [volumes["taught", s] - volumes["plain", s] for s in SEEDS if all((arm, s) in volumes for arm in ARMS)]
    if len(gains) > 1:
        error = np.std(gains, ddof=1) / np.sqrt(len(gains))
        half = stats.t.ppf(0.975, len(gains) - 1) * error
        interval = f"[{np.mean(gains) - half:+.4f}, {np.mean(gains) + half:+.4f}]"
        print(f"with a teacher less without: {np.mean(gains):+.4f}, standard error {error:.4f}, 95 % {interval} (Student's t)")


def row_of(network: pd.Series, place: Path) -> tuple | None:
    """A row of the table; None where the long training has not ended."""
    architecture: Architecture = network["architecture"]
    file = place / folder(architecture.key, 0) / RESULT
    if not file.exists():
        return None
    result = Result.model_validate_json(file.read_text(encoding="utf-8"))
    facts = (result.accuracy, result.test_images, architecture.describe())
    return network["arm"], network["search_seed"], architecture.key[:12], network["macs"], network["expected"], *facts


def volume(own: pd.DataFrame) -> float:
    """Of error and MACs, from an error of 1 and the space's limit; what a search could reach at most is 1. Cheap networks have
    the largest part in it."""
    points = np.column_stack([1 - own["accuracy"], own["macs"] / MOST_MACS])
    return hypervolume_of(points[pareto(points)], [1.0, 1.0])


if __name__ == "__main__":
    try:
        main()
    except NasError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
