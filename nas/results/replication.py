"""Which networks are trained again, until the noise between seeds is known where it decides."""

import json
from pathlib import Path

from rich.console import Console

from nas.config import validated, with_settings
from nas.errors import NasError
from nas.results.front import joined
from nas.results.front_table import require_finished
from nas.results.listing import nearest, standing
from nas.results.reading import Reading, read
from nas.search.additions import REPLICATE
from nas.search.cluster import check_address
from nas.search.folder import alone, plain, read_run
from nas.search.replicates import Replicate, prepared, train_again
from nas.search.settings import Search
from nas.search.stopping import Stopping
from nas.space.architecture import Architecture
from nas.units import duration

DEFAULT = 3  # seeds where neither the command nor the search says how many


def replicate(search: Search, *, root: Path, console: Console, number: int | None = None, most: int | None = None) -> None:
    """Train each network of the run in `root` that is or could be on the front, and each baseline, with `number` other seeds.

    One seed a round: what the next round trains follows from what the record holds by then, so that a network whose luck it was
    is left, one that moves up is joined, and a killed replication continues where it was. `number` is search.replicates where
    none is given; `most` limits a round to the networks nearest to the front.
    """
    folder, _ = read_run(root)
    number = number or search.search.replicates or DEFAULT
    check_address(search.resources.address)
    reading = read(root, search)
    require_finished(joined([reading]), (root,))
    with alone(folder), Stopping():
        manifest, lost = prepared(search, folder, console), []
        if manifest.hash not in {row.get("manifest") for row in reading.rows}:
            raise NasError(f"{folder.manifest}: is not of the images that the search was trained on. Restore it from a backup.")
        while wanted := [each for each in next_round(read(root, search), number=number, most=most) if each not in lost]:
            _announce(wanted, console)
            lost += train_again(wanted, search=search, folder=folder, manifest=manifest, console=console)
    if lost:
        console.print(f"{len(lost)} trainings were lost to the machine; the same command tries them again.", highlight=False)


def settings_of(root: Path, settings: list[str]) -> Search:
    """The search of a run with each "a.b=value" of `settings` laid over it."""
    folder, search = read_run(root)
    return validated(Search, with_settings(plain(search), settings), where=f"{folder.search_yaml} (with --set)")


def _announce(wanted: list[Replicate], console: Console) -> None:
    seconds = sum(each.seconds for each in wanted)
    console.print(
        f"{len(wanted)} on or near the front to be trained with another seed, about {duration(seconds)} of training",
        highlight=False,
        soft_wrap=True,
    )


def next_round(reading: Reading, *, number: int, most: int | None = None) -> list[Replicate]:
    """One more training of each network that counts and has fewer than `number` yet, the nearest to the front first."""
    done: dict[int, set[int]] = {}
    for each in reading.additions:
        if each.kind == REPLICATE:
            done.setdefault(each.trial, set()).add(each.value["seed"])
    found = standing(joined([reading]), reading.search.objectives[1:])
    near = nearest(found)
    counts = near["baseline"].notna() | near.index.isin(found.best.index) | near.index.isin(found.open.index)
    near = near[counts].head(most)
    few = near[[len(done.get(trial, ())) < number for trial in near["trial"]]]
    first = reading.search.search.seed
    return [
        Replicate(trial, Architecture.model_validate(json.loads(text)), _unused(first, done.get(trial, set())), seconds)
        for trial, text, seconds in few[["trial", "architecture", "seconds"]].itertuples(index=False)
    ]


def _unused(first: int, seeds: set[int]) -> int:
    """The first seed after the search's own that was not trained with yet."""
    seed = first + 1
    while seed in seeds:
        seed += 1
    return seed
