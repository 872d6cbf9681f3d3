"""A teacher, a search with it, then the winners and every family of hand-made designs trained at length by one recipe.

    nice -n 19 python experiments/discovery/discover.py --data DIR --out FOLDER

DIR holds at least 100 classes in train/ and val/; val/ is the test split, read once a network. Every step goes on where an
earlier call was killed. The largest CAFormer is trained first, since the search's proxy learns from it; the other networks from
the cheapest to the dearest, seed by seed, so that what is there says something at any time: --show prints it, found networks
against the best family at equal MACs, and trains nothing. --begin-with takes the networks and trainings of an earlier study,
such as the one whose files lie here, and trains only what they lack. README.md here has what came out.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from leads import lines_about, means_of

from nas.calibration.record import hashed
from nas.data.registry import open_source
from nas.errors import NasError
from nas.files import write_whole
from nas.recipes.full import ELSEWHERE, FullRecipe, read_full_recipe
from nas.results.families import family_of
from nas.results.front import front, load
from nas.retraining.data import manifest_of
from nas.retraining.folder import Result
from nas.retraining.train import Job, run
from nas.run.settings.search import Search, read_search
from nas.space.architecture import Architecture
from nas.space.cost import cost
from nas.units import duration

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
FOUND = 4  # networks of the front
TEMPERATURE = 2  # as in experiments/calibration/reference
TEACHER = "caformer@28M"  # of the baselines; its first seed
SEEDS = (0, 1)
RESULT = "result.json"  # what a long training ends with
OURS = "found"  # in the place of a family
COLUMNS = (
    *("name", "family", "key", "macs", "params", "seed", "accuracy", "top5", "test_images", "seconds", "stages"),
    "trained_as",  # of recipe and images: only accuracies of equal ones are compared
)


class Entry(NamedTuple):
    """A network that is trained at length."""

    name: str
    family: str
    """Of hand-made designs; OURS for the search's."""
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
    parser.add_argument("--begin-with", type=Path, metavar="FOLDER", help="found.json, long.csv and other.csv of another study")
    parser.add_argument("--trials", type=int, help="of the search, in the place of the space's")
    parser.add_argument("--set", action="append", default=[], metavar="A.B=VALUE", help="a setting of the recipe")
    parser.add_argument("--search-set", action="append", default=[], metavar="A.B=VALUE", help="a setting of the search")
    parser.add_argument("--teacher", default=TEACHER, help="the baseline that the search's trainings learn from")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cpu", help="of the long trainings")
    parser.add_argument("--show", action="store_true")
    asked = parser.parse_args()
    settings, found = read_search(asked.space, settings=asked.search_set), asked.out / "found.json"
    if asked.teacher not in settings.baselines:
        parser.error(f"--teacher must be a baseline ({', '.join(settings.baselines)}), but got {asked.teacher}")
    if not asked.show:
        open_source(asked.other_data or asked.data)  # or its error, before anything is written
    if asked.begin_with:
        begin(asked.out, asked.begin_with)
    if found.exists() and (asked.trials or not asked.show):
        print(f"{found}: the search has ended, and its networks stay what they are; another search needs another --out")
    if asked.show and not found.exists():
        print(f"{asked.out / 'search'}: the search has not ended; nas front shows how far it is")
    if not asked.show:
        long = partial(jobs, recipe=asked.recipe, settings=asked.set, device=asked.device)
        if not found.exists():
            teacher = {asked.teacher: settings.design(asked.teacher)}
            (first,) = long(teacher, data=asked.data, place=asked.out / "long", seeds=SEEDS[:1])
            if not (first.out / RESULT).exists():
                train([first], workers=1)
            search(asked, asked.out / "search", teacher=first.out)
            choose(asked.out / "search", found)
        listed, place = entries(found, settings), asked.out / ("other" if asked.other_data else "long")
        named = {entry.name: entry.architecture for entry in listed}
        waiting = long(named, data=asked.other_data or asked.data, place=place)
        ways = {seed: way_of(waiting[0].recipe, manifest_of(waiting[0].recipe, seed=seed).hash) for seed in SEEDS}
        done = {tuple(row) for row in results(listed, place)[["key", "seed", "trained_as"]].to_numpy()}
        train([job for job in waiting if (job.architecture.key, job.seed, ways[job.seed]) not in done], workers=asked.workers)
    for name in ("long", "other"):
        if found.exists() and len(done := results(entries(found, settings), asked.out / name)):
            show(done, asked.out / f"{name}.csv")


def begin(out: Path, earlier: Path) -> None:
    """Puts an earlier study's files into a folder that has none."""
    if not (earlier / "found.json").exists():
        raise NasError(f"{earlier}: must be a folder with a study's found.json, but has none")
    out.mkdir(parents=True, exist_ok=True)
    for name in ("found.json", "long.csv", "other.csv"):
        if (earlier / name).exists() and not (out / name).exists():
            shutil.copy(earlier / name, out / name)


def search(asked: argparse.Namespace, out: Path, *, teacher: Path) -> None:
    """The search, begun or gone on with; its end is known by its own record."""
    taught = f"proxy.distillation={json.dumps({'teacher': str(teacher.resolve()), 'temperature': TEMPERATURE})}"
    trials = [] if asked.trials is None else [f"search.trials={asked.trials}"]
    call_search(asked.space, [taught, *asked.search_set, *trials], data=asked.data, out=out)


def call_search(space: str, settings: list[str], *, data: str, out: Path) -> None:
    """run_search.py, whose exit code ends this program too where it is none of success."""
    words = [word for setting in settings for word in ("--set", setting)]
    command = [sys.executable, str(ROOT / "run_search.py"), space, "--data", data, "--out", str(out), *words]
    if code := subprocess.run(command, check=False).returncode:
        sys.exit(code)


def choose(run_folder: Path, file: Path) -> None:
    """The networks of the front that are trained at length, as JSON."""
    trials = load(run_folder)
    chosen = spread(front(trials[trials["baseline"].isna()]))
    found = {f"trial {trials.loc[i, 'trial']}": trials.loc[i, "architecture"].to_dict() for i in chosen}
    write_whole(file, json.dumps(found, indent=1) + "\n")


def spread(best: pd.DataFrame) -> list[int]:
    """The rows of `FOUND` networks of a front, evenly over the logarithm of its MACs."""
    wanted = np.geomspace(best["macs"].min(), best["macs"].max(), FOUND)
    return list(dict.fromkeys(int((np.log(best["macs"]) - np.log(macs)).abs().idxmin()) for macs in wanted))


def entries(found_json: Path, settings: Search) -> list[Entry]:
    """The found networks and all family members, cheapest first."""
    try:
        read = json.loads(found_json.read_text(encoding="utf-8"))
        found = {name: Architecture.model_validate(each) for name, each in read.items()}
    except (ValueError, AttributeError) as error:
        raise NasError(f"{found_json}: must hold architectures by name, but does not: {error}") from None
    members = {name: settings.design(name) for name in settings.baselines}
    named = {**{name: (OURS, each) for name, each in found.items()}, **{n: (family_of(n), a) for n, a in members.items()}}
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
        Job(architecture=architecture, recipe=how, out=place / folder(name, seed), seed=seed, device=device)
        for seed in seeds
        for name, architecture in named.items()
    ]


def folder(name: str, seed: int) -> str:
    """Where a network's training lies."""
    return f"{name.replace(' ', '_')}-{seed}"


def train(waiting: list[Job], *, workers: int) -> None:
    """Each training in a process of a pool; what a killed call left is gone on with."""
    print(f"{len(waiting)} trainings are left", flush=True)
    context, threads, began = multiprocessing.get_context("spawn"), max(1, (os.cpu_count() or 1) // workers), time.monotonic()
    with ProcessPoolExecutor(workers, mp_context=context, initializer=begin_worker, initargs=(os.getpid(), threads)) as pool:
        futures = {pool.submit(run, job): job for job in waiting}
        for number, future in enumerate(as_completed(futures), start=1):
            result, job = future.result(), futures[future]
            left = (time.monotonic() - began) / number * (len(waiting) - number)
            told = f"{result.accuracy:.1%} in {duration(result.seconds)} · ETA {duration(left)}"
            print(f"[{number}/{len(waiting)}] {job.out.name}: {told}", flush=True)


def begin_worker(parent: int, threads: int) -> None:
    """In a process of the pool, which ends when its parent is killed: else the next call would meet it in its folder."""
    import torch

    torch.set_num_threads(threads)
    Thread(target=end_with, args=(parent,), daemon=True).start()


def end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def results(listed: list[Entry], place: Path) -> pd.DataFrame:
    """A row a training that has ended: in the folder `place`, or by the table beside it, such as one that was begun with."""
    table, rows = place.with_suffix(".csv"), []
    before = written(table)
    if odd := sorted(set(before["name"][~before["key"].isin([each.architecture.key for each in listed])])):
        raise NasError(f"{table}: must be of this study's networks, but has {', '.join(odd)} as well. Choose another --out.")
    for each in listed:
        named = {name: getattr(each, name) for name in ("name", "family", "macs", "params")}
        earlier = before[before["key"] == each.architecture.key]
        rows += [row | named for row in earlier.to_dict("records")]
        for seed in SEEDS:
            if (file := place / folder(each.name, seed) / RESULT).exists():
                rows.append(named | facts_of(file) | {"key": each.architecture.key, "stages": each.architecture.describe()})
    return pd.DataFrame(rows, columns=COLUMNS).drop_duplicates(["name", "seed", "trained_as"], keep="last", ignore_index=True)


def written(table: Path) -> pd.DataFrame:
    """What an earlier call put down; nothing where there was none."""
    if not table.exists():
        return pd.DataFrame(columns=COLUMNS)
    try:
        return pd.read_csv(table)[list(COLUMNS)]
    except (ValueError, KeyError) as error:
        why = str(error).strip("'\"").rstrip(".")
        raise NasError(
            f"{table}: must have the columns {', '.join(COLUMNS)}, but: {why}. Copy it again, or remove it."
        ) from None


def facts_of(file: Path) -> dict[str, Any]:
    """What a training came to."""
    result = Result.model_validate_json(file.read_text(encoding="utf-8"))
    way = way_of(FullRecipe.model_validate(result.setup["recipe"]), result.setup["manifest"])
    facts = {name: getattr(result, name) for name in ("accuracy", "top5", "test_images", "seconds")}
    return {**facts, "seed": result.setup["seed"], "trained_as": way}


def way_of(recipe: FullRecipe, manifest: str) -> str:
    """Twelve hexadecimal digits that are equal for trainings by one recipe on the same images."""
    return hashed([recipe.model_dump(mode="json", exclude=ELSEWHERE, exclude_defaults=True), manifest])


def show(done: pd.DataFrame, file: Path) -> None:
    """The table as CSV, and where the found networks stand against the best family: each at its cost, and over the range."""
    write_whole(file, done.to_csv(index=False, lineterminator="\n"))
    alike = pd.concat(rows[rows["trained_as"] == rows["trained_as"].mode()[0]] for _, rows in done.groupby("seed"))
    others = len(done) - len(alike)
    print(
        f"\n{file}: {len(done)} trainings"
        + (f", {others} of another recipe or of other images, left out here" if others else "")
    )
    for line in lines_about(means_of(alike), ours=OURS):
        print(line)


if __name__ == "__main__":
    try:
        main()
    except NasError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
