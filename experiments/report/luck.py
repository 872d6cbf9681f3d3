"""What can be believed of a search's numbers: luck in the front, intervals, ties, and effects of choices.

    nice python experiments/report/luck.py --out experiments/report/luck.csv

Made-up trainings of hybrid.yaml's space, so that the truth is known: three choices have an effect, all others none. Each
network has a true accuracy; a training adds the spread between seeds, and answers to the same 862 images, of which some are
hard for all. Every sampler searches with several seeds; a row of the table is one search, and is not made a second time.
"""

import argparse
import csv
import json
import math
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import ndtri

from nas.report.advice import advise
from nas.report.importance import at_equal_macs, choices, effects, importances
from nas.results.course import volumes
from nas.results.front import joined
from nas.results.noise import Z, paired_variance, surely_better
from nas.results.standing import standing
from nas.results.trials import with_choices
from nas.run.folder import open_folder
from nas.run.front import reference_costs
from nas.run.reading import read
from nas.run.settings.search import Search, read_search
from nas.search.study import Study
from nas.space.architecture import Architecture
from nas.training.curve import Epoch, packed_bits

IMAGES, SEED_SPREAD, SHARED = 862, 0.006, 0.6  # SHARED: of what makes an image hard, what is the same for all networks
MATTER = {
    "stage3.mixer": {"attention": 0.02, "conv": 0.01},
    "stage4.mixer": {"attention": 0.015},
    "stage3.norm": {"layer": 0.008},
}
COLUMNS = (
    "sampler", "seed", "front", "luck", "luck_expected", "covered", "covered_expected", "null_options", "null_excluded",
    "null_important", "null_advice", "equal_pairs", "apart_wrong", "paired_wrong", "apart_half", "paired_half",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=60)
    arguments = parser.parse_args()
    done = {(row["sampler"], int(row["seed"])) for row in _rows(arguments.out)}
    for seed in range(arguments.seeds):
        for sampler in ("random", "evolution", "front", "tpe"):
            if (sampler, seed) not in done:
                _append(arguments.out, measured(sampler, seed, trials=arguments.trials))
    print(summary(pd.DataFrame(_rows(arguments.out))))


def measured(sampler: str, seed: int, *, trials: int) -> dict:
    """One search and what its tables say, beside the truth."""
    settings = [
        f"search.trials={trials}",
        f"search.sampler={sampler}",
        f"search.seed={seed}",
        "baselines=[]",
        "proxy.rungs=[]",
        "search.cache=false",
    ]
    search = read_search("hybrid", settings=settings)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "run"
        folder = open_folder(root, search)
        manifest = {"class_names": ["a", "b"], "validation": [["", i % 2] for i in range(IMAGES)]}
        folder.manifest.write_text(json.dumps(manifest), encoding="utf-8")
        study = Study(search, folder, manifest_hash="made up")
        while (proposal := study.propose()) is not None:
            right = answers(search, proposal.architecture, seed=1000 * seed + proposal.number)
            numbers = {"loss": 0.5, "train_loss": 0.5, "lr": 0.1, "seconds": 1.0, "steps": 1}
            accuracy = float(right.mean())
            study.report(
                proposal.number, Epoch(epoch=search.proxy.epochs, accuracy=accuracy, right=packed_bits(right), **numbers)
            )
            study.finish(proposal.number, accuracy=accuracy, seconds=1.0)
        study.close()
        table = with_choices(joined([read(root)]))
        truth = pd.Series([true_accuracy(search, r.architecture) for r in read(root).trials], index=table.index)
    return {
        "sampler": sampler,
        "seed": seed,
        **_of_front(table, truth),
        **_of_effects(table, search),
        **_of_pairs(table, truth),
    }


def true_accuracy(search: Search, architecture: Architecture) -> float:
    """What the choices that matter and the logarithm of MACs give."""
    chosen = search.space.choices(architecture)
    worth = sum(values.get(chosen.get(axis), 0.0) for axis, values in MATTER.items())
    return 0.86 + 0.06 * math.log10(search.space.cost(architecture).macs / 1e9) + worth


def answers(search: Search, architecture: Architecture, *, seed: int) -> np.ndarray:
    """Which images a training gets right: bool `(IMAGES,)`."""
    rng, hard = np.random.default_rng([1, seed]), np.random.default_rng(0).standard_normal(IMAGES)
    accuracy = true_accuracy(search, architecture) + SEED_SPREAD * rng.standard_normal()
    difficulty = math.sqrt(SHARED) * hard + math.sqrt(1 - SHARED) * rng.standard_normal(IMAGES)
    return difficulty < ndtri(min(max(accuracy, 0.01), 0.99))


def _of_front(table: pd.DataFrame, truth: pd.Series) -> dict:
    """How far the front's accuracies are too high, and how often its intervals hold the truth, as seen and as expected."""
    best = standing(table, ("macs",)).best
    # what the one draw of images does to all alike is no luck of the front's
    common = float((table["accuracy"] - truth).mean())
    seen, expected, right = best["accuracy"] - common, best["expected"] - common, truth[best.index]
    # the spread between seeds is known to nobody in an unreplicated search: the intervals are of the images alone
    held = (right >= seen - best["below"]) & (right <= seen + best["above"])
    held_expected = (right >= expected - best["below"]) & (right <= expected + best["above"])
    return {
        "front": len(best), "luck": float((seen - right).mean()), "luck_expected": float((expected - right).mean()),
        "covered": float(held.mean()), "covered_expected": float(held_expected.mean()),
    }  # fmt: skip


def _of_effects(table: pd.DataFrame, search: Search) -> dict:
    """How often choices without effect seem to have one: by intervals of means, by importance, in advice."""
    better = at_equal_macs(table)
    rows = pd.DataFrame(choices(table.loc[better.index], search), index=better.index)
    excluded = []
    for axis in [a for a in search.space.axes if a not in MATTER and a in rows]:
        for _, index in rows.groupby(axis).groups.items():
            values = better[index]
            if len(values) >= 5:
                excluded.append(abs(values.mean()) > Z * values.std() / math.sqrt(len(values)))
    shares = importances(table, search)
    important = shares[shares["share"] > shares["chance"]]["axis"]
    course = volumes(table, ("macs",), reference_costs(search))
    best = standing(table, ("macs",)).best
    lines = advise(table, best, search, effects=effects(table, search), importances=shares, course=course, calibrated=True)
    advice = [line for line in lines if line.what in ("widen", "drop") and not any(axis in line.text for axis in MATTER)]
    return {
        "null_options": len(excluded), "null_excluded": int(sum(excluded)),
        "null_important": int((~important.isin(list(MATTER))).any()), "null_advice": len(advice),
    }  # fmt: skip


def _of_pairs(table: pd.DataFrame, truth: pd.Series) -> dict:
    """Of networks that are equally good: how often one is called surely better, and how wide the margin of a difference is."""
    equal = np.abs(truth.to_numpy()[:, None] - truth.to_numpy()) < 0.001
    np.fill_diagonal(equal, False)
    bare = table.drop(columns="right")
    paired, apart = surely_better(table, table), surely_better(bare, bare)
    halves = Z * np.sqrt(paired_variance(table, table))
    wide = np.hypot(table["below"].to_numpy()[:, None], table["above"].to_numpy())
    return {
        "equal_pairs": int(equal.sum()), "apart_wrong": int(apart[equal].sum()), "paired_wrong": int(paired[equal].sum()),
        "apart_half": float(np.nanmean(wide)), "paired_half": float(np.nanmean(halves)),
    }  # fmt: skip


def summary(rows: pd.DataFrame) -> str:
    """Some lines a sampler: means over the searches, and for luck their standard error."""
    rows = rows.assign(**{column: pd.to_numeric(rows[column], errors="coerce") for column in COLUMNS[1:]})
    return "\n".join(_of_sampler(str(sampler), of) for sampler, of in rows.groupby("sampler"))


def _of_sampler(sampler: str, of: pd.DataFrame) -> str:
    mean, total, error = of.drop(columns="sampler").mean(), of.drop(columns="sampler").sum(), of["luck"].sem()
    advised = (of["null_advice"] > 0).mean()
    return f"""{sampler}, {len(of)} searches
  the front is too high by {100 * mean["luck"]:.2f} points (standard error {100 * error:.2f}), as expected by \
{100 * mean["luck_expected"]:.2f}
  intervals of 95 % hold the truth for {mean["covered"]:.0%} of it, around what is expected for {mean["covered_expected"]:.0%}
  without effect: {total["null_excluded"] / total["null_options"]:.1%} of options have an interval of the mean that excludes 0
  searches with an axis without effect above chance {mean["null_important"]:.0%}, with advice on one {advised:.0%}
  equal networks called different: {total["apart_wrong"] / total["equal_pairs"]:.1%} by intervals, \
{total["paired_wrong"] / total["equal_pairs"]:.1%} in pairs; margins {100 * mean["apart_half"]:.2f} and \
{100 * mean["paired_half"]:.2f} points"""


def _rows(path: Path) -> list[dict]:
    return list(csv.DictReader(path.open(encoding="utf-8"))) if path.exists() else []


def _append(path: Path, row: dict) -> None:
    is_new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow({name: f"{v:.5g}" if isinstance(v := row[name], float) else v for name in COLUMNS})


if __name__ == "__main__":
    main()
