"""A teacher, a search with it, then the winners and every family of hand-made designs trained at length by one recipe.

    nice -n 19 python experiments/discovery/discover.py --data DIR --out FOLDER

DIR holds at least 100 classes in train/ and val/; val/ is the test split, read once a network. Every step goes on where an
earlier call was killed. The largest CAFormer is trained first, since the search's proxy learns from it; the other networks from
the cheapest to the dearest, seed by seed, so that what is there says something at any time: --show prints it, found networks
against the best family at equal MACs, and trains nothing. README.md here has what came out.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from nas.errors import NasError
from nas.recipes.full import read_full_recipe
from nas.results.families import family_of
from nas.results.front import front, load
from nas.retraining.folder import Result
from nas.retraining.train import Job, run
from nas.run.folder import RunFolder
from nas.run.settings.search import read_search
from nas.space.architecture import Architecture
from nas.space.cost import cost
from nas.units import count

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
FOUND = 4  # networks of the front
TEMPERATURE = 2  # as in experiments/calibration/reference
TEACHER = "caformer@28M"  # of the baselines; its first seed
SEEDS = (0, 1)
COLUMNS = ("name", "family", "key", "macs", "params", "seed", "accuracy", "top5", "test_images", "seconds", "stages")


class Entry(NamedTuple):
    """A network that is trained at length."""

    name: str
    family: str
    """Of hand-made designs; "found" for the search's."""
    architecture: Architecture
    macs: int
    params: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--space", default=str(HERE / "discovery.yaml"))
    parser.add_argument("--recipe", default=str(HERE / "long.yaml"))
    parser.add_argument("--other-data", help="train on these classes in the place of those that were searched on")
    parser.add_argument("--trials", type=int, help="of the search, in the place of the space's")
    parser.add_argument("--set", action="append", default=[], metavar="A.B=VALUE", help="a setting of the recipe")
    parser.add_argument("--search-set", action="append", default=[], metavar="A.B=VALUE", help="a setting of the search")
    parser.add_argument("--teacher", default=TEACHER, help="the baseline that the search's trainings learn from")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cpu", help="of the long trainings")
    parser.add_argument("--show", action="store_true")
    asked = parser.parse_args()
    if asked.show and not (asked.out / "found.json").exists():
        print(f"{asked.out / 'search'}: the search has not ended; nas front shows how far it is")
    if not asked.show:
        long = partial(jobs, recipe=asked.recipe, settings=asked.set, device=asked.device)
        settings = read_search(asked.space, settings=asked.search_set)
        if asked.teacher not in settings.baselines:
            parser.error(f"--teacher must be a baseline ({', '.join(settings.baselines)}), but got {asked.teacher}")
        teacher = {asked.teacher: settings.design(asked.teacher)}
        first = long(teacher, data=asked.data, place=asked.out / "long", seeds=SEEDS[:1])
        train(first, workers=1)
        search(asked, asked.out / "search", teacher=first[0].out)
        named = {entry.name: entry.architecture for entry in entries(asked.out)}
        place = asked.out / ("other" if asked.other_data else "long")
        train(long(named, data=asked.other_data or asked.data, place=place), workers=asked.workers)
    for name in ("long", "other"):
        if (asked.out / name).is_dir() and (asked.out / "found.json").exists():
            show(results(entries(asked.out), asked.out / name), asked.out / f"{name}.csv")


def search(asked: argparse.Namespace, out: Path, *, teacher: Path) -> None:
    """The search, begun or gone on with; its end is known by its own record."""
    taught = f"proxy.distillation={json.dumps({'teacher': str(teacher.resolve()), 'temperature': TEMPERATURE})}"
    settings = [word for setting in [taught, *asked.search_set] for word in ("--set", setting)]
    more = [] if asked.trials is None else ["--trials", str(asked.trials)]
    places = ["--data", asked.data, "--out", str(out)]
    command = [sys.executable, str(ROOT / "run_search.py"), asked.space, *places, *more, *settings]
    subprocess.run(command, check=True)


def entries(out: Path) -> list[Entry]:
    """Networks of the front, spread over it, and all family members, cheapest first; found.json keeps what was chosen."""
    settings, trials = read_search(RunFolder(out / "search").search_yaml), load(out / "search")
    best = front(trials[trials["baseline"].isna()])
    wanted = np.geomspace(best["macs"].min(), best["macs"].max(), FOUND)
    chosen = dict.fromkeys(int((np.log(best["macs"]) - np.log(macs)).abs().idxmin()) for macs in wanted)
    found = {f"trial {trials.loc[i, 'trial']}": trials.loc[i, "architecture"] for i in chosen}
    (out / "found.json").write_text(json.dumps({name: each.to_dict() for name, each in found.items()}, indent=1) + "\n")
    members = {name: settings.design(name) for name in settings.baselines}
    named = {**{name: ("found", each) for name, each in found.items()}, **{n: (family_of(n), a) for n, a in members.items()}}
    size, classes = settings.space.image_size, settings.space.num_classes
    costs = {name: cost(each, image_size=size, num_classes=classes) for name, (_, each) in named.items()}
    listed = [Entry(name, *named[name], spent.macs, spent.params) for name, spent in costs.items()]
    return sorted(listed, key=lambda entry: entry.macs)


def jobs(
    named: dict[str, Architecture],
    *,
    recipe: str,
    settings: list[str],
    data: str,
    place: Path,
    device: str,
    seeds: tuple[int, ...] = SEEDS,
) -> list[Job]:
    """Each network with each seed, one seed after the other."""
    how = read_full_recipe(recipe, settings=[f"data={data}", *settings])
    return [
        Job(architecture=architecture, recipe=how, out=place / f"{folder(name)}-{seed}", seed=seed, device=device)
        for seed in seeds
        for name, architecture in named.items()
    ]


def folder(name: str) -> str:
    """A network's name as a folder's."""
    return name.replace(" ", "_")


def train(waiting: list[Job], *, workers: int) -> None:
    """Each training in a process of a pool; what a killed call left is gone on with."""
    left = [job for job in waiting if not (job.out / "result.json").exists()]
    print(f"{len(left)} of {len(waiting)} trainings are left", flush=True)
    context, threads = multiprocessing.get_context("spawn"), max(1, (os.cpu_count() or 1) // workers)
    with ProcessPoolExecutor(workers, mp_context=context, initializer=set_threads, initargs=(threads,)) as pool:
        futures = {pool.submit(run, job): job for job in left}
        for number, future in enumerate(as_completed(futures), start=1):
            result, job = future.result(), futures[future]
            print(f"[{number}/{len(left)}] {job.out.name}: {result.accuracy:.1%} in {result.seconds / 60:.0f} min", flush=True)


def set_threads(number: int) -> None:
    """In a process of the pool."""
    import torch

    torch.set_num_threads(number)


def results(listed: list[Entry], place: Path) -> pd.DataFrame:
    """A row a network and seed that has ended."""
    rows = []
    for entry in listed:
        for seed in SEEDS:
            file = place / f"{folder(entry.name)}-{seed}" / "result.json"
            if not file.exists():
                continue
            result = Result.model_validate_json(file.read_text(encoding="utf-8"))
            facts = (result.accuracy, result.top5, result.test_images, result.seconds, entry.architecture.describe())
            key = entry.architecture.key
            rows.append((entry.name, entry.family, key, entry.macs, entry.params, seed, *facts))
    return pd.DataFrame(rows, columns=COLUMNS)


def show(done: pd.DataFrame, file: Path) -> None:
    """The table as CSV, and where each found network stands against the best family at its cost."""
    done.to_csv(file, index=False, lineterminator="\n")
    print(f"\n{file}: {len(done)} trainings")
    held = leads(done)
    alone = sorted({name for name in done.loc[done["family"] == "found", "name"]} - {lead.name for lead in held})
    if alone:
        print(f"at the cost of {', '.join(alone)} no family has members on both sides yet")
    for lead in held:
        half = "" if np.isnan(lead.half) else f" ± {100 * lead.half:.1f}"
        print(
            f"{lead.name} at {count(lead.macs)} MACs: {lead.accuracy:.1%}; the best family there, {lead.family}, "
            f"{lead.theirs:.1%}; {100 * (lead.accuracy - lead.theirs):+.1f}{half} points"
        )


class Lead(NamedTuple):
    """A found network against the best family at equal MACs."""

    name: str
    macs: int
    accuracy: float
    family: str
    theirs: float
    """On the line through the family's members, over the logarithm of MACs."""
    half: float
    """Half the 95 % interval of the difference: seeds and test images; NaN where no network has two seeds."""


def leads(done: pd.DataFrame) -> list[Lead]:
    """Of every found network whose cost some family reaches."""
    means = done.groupby(["family", "name"]).agg(macs=("macs", "first"), accuracy=("accuracy", "mean"), seeds=("seed", "size"))
    spread = done.groupby("name")["accuracy"].var().mean()  # between seeds, pooled over the networks that have two
    images = done["test_images"].iloc[0] if len(done) else np.nan
    means["variance"] = spread / means["seeds"] + means["accuracy"] * (1 - means["accuracy"]) / images
    found = []
    for (_, name), row in means[means.index.get_level_values("family") == "found"].iterrows():
        lines = (theirs_at(line, row["macs"]) for family, line in means.groupby("family") if family != "found")
        able = [(accuracy, variance, family) for family, accuracy, variance in filter(None, lines)]
        if able:
            accuracy, variance, family = max(able)
            half = 1.96 * np.sqrt(row["variance"] + variance)
            found.append(Lead(name, int(row["macs"]), row["accuracy"], family, accuracy, half))
    return sorted(found, key=lambda lead: lead.macs)


def theirs_at(line: pd.DataFrame, macs: float) -> tuple[str, float, float] | None:
    """A family's accuracy at a cost and its variance; None outside of what its members cost."""
    line = line.sort_values("macs")
    if not line["macs"].iloc[0] <= macs <= line["macs"].iloc[-1] or len(line) < 2:
        return None
    weights = np.array([np.interp(np.log(macs), np.log(line["macs"]), unit) for unit in np.eye(len(line))])
    return line.index[0][0], float(weights @ line["accuracy"]), float(weights**2 @ line["variance"])


if __name__ == "__main__":
    try:
        main()
    except NasError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
