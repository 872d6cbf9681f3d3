"""Which networks are trained again, until the noise between seeds is known where it decides."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from nas.calibration.progress import CalibrationBar, Pace, Work
from nas.calibration.record import Training
from nas.calibration.work import decode_for, train_one
from nas.cluster.jobs import run_jobs
from nas.cluster.session import check_machines
from nas.cluster.stopping import Stopping
from nas.config.layers import with_settings
from nas.config.values import validated
from nas.data.manifest import Manifest, check_place, prepare_images, read_manifest
from nas.data.progress import shown_decoding
from nas.data.registry import data_root
from nas.errors import NasError
from nas.results.front import joined
from nas.results.points import require_finished
from nas.results.standing import nearest, standing
from nas.run.additions import REPLICATE, Addition, adding
from nas.run.folder import RunFolder, alone, check_same, plain_search, read_run
from nas.run.reading import Reading, as_written, check_parts, read
from nas.run.settings.search import Search
from nas.space.architecture import Architecture
from nas.training.curve import Outcome
from nas.units import duration

DEFAULT = 3  # seeds where neither the command nor the search says how many


class Replicate(NamedTuple):
    """A trial that is to be trained again."""

    trial: int
    architecture: Architecture
    seed: int
    seconds: float
    """What its first training took."""


def replicate_front(
    search: Search, *, root: Path, console: Console, number: int | None = None, most: int | None = None
) -> None:
    """Train each network of the run in `root` that is or could be on the front, and each baseline, with `number` other seeds.

    One seed a round: what the next round trains follows from what the record holds by then, so that a network whose luck it was
    is left, one that moves up is joined, and a killed replication continues where it was. `number` is search.replicates where
    none is given; `most` limits a round to the networks nearest to the front.
    """
    folder, _ = read_run(root)
    number = number or search.replicates or DEFAULT
    check_machines(search.resources.address, workers=search.resources.workers, cpu=search.resources.cpu)
    reading = read(root, search)
    require_finished(joined([reading]), (root,))
    with as_written(folder):
        check_parts(reading.records)
    manifest, lost = prepared(search, folder, console), []
    if manifest.hash not in {record.manifest for record in reading.records}:
        raise NasError(f"{folder.manifest}: is not of the images that the search was trained on. Restore it from a backup.")
    with alone(folder), Stopping():
        while wanted := [each for each in next_round(read(root, search), number=number, most=most) if each not in lost]:
            _announce(wanted, console)
            lost += train_again(wanted, search=search, folder=folder, manifest=manifest, console=console)
    if lost:
        console.print(f"{len(lost)} trainings were lost to the machine; the same command tries them again.")


def settings_of(root: Path, settings: list[str]) -> Search:
    """The search of a run with each "a.b=value" of `settings` laid over it."""
    folder, search = read_run(root)
    where = f"{folder.search_yaml} (with --set)" if settings else str(folder.search_yaml)
    asked = validated(Search, with_settings(plain_search(search), settings), where=where)
    check_same(plain_search(search), plain_search(asked), where=str(root))
    return asked


def _announce(wanted: list[Replicate], console: Console) -> None:
    seconds = sum(each.seconds for each in wanted)
    console.print(
        f"{len(wanted)} on or near the front to be trained with another seed, about {duration(seconds)} of training",
        soft_wrap=True,
    )


def next_round(reading: Reading, *, number: int, most: int | None = None) -> list[Replicate]:
    """One more training of each network that counts and has fewer than `number` yet, the nearest to the front first."""
    done: dict[int, set[int]] = {}
    for each in reading.additions:
        if each.kind == REPLICATE:
            done.setdefault(each.trial, set()).add(each.value["seed"])
    ranked = standing(joined([reading]), reading.search.objectives[1:])
    near = nearest(ranked)
    counts = near["baseline"].notna() | near.index.isin(ranked.best.index) | near.index.isin(ranked.open.index)
    near = near[counts].head(most)
    few = near[[len(done.get(trial, ())) < number for trial in near["trial"]]]
    first = reading.search.training_seed
    return [
        Replicate(trial, reading.record(trial).architecture, _unused(first, done.get(trial, set())), seconds)
        for trial, seconds in few[["trial", "seconds"]].itertuples(index=False)
    ]


def _unused(first: int, seeds: set[int]) -> int:
    """The first seed after the search's own that was not trained with yet."""
    seed = first + 1
    while seed in seeds:
        seed += 1
    return seed


def prepared(search: Search, folder: RunFolder, console: Console) -> Manifest:
    """The search's own images, checked and decoded; NasError where they are gone."""
    manifest, size = read_manifest(folder.manifest), search.proxy.full_size
    check_place(manifest, search.proxy.data)
    with shown_decoding(console, image_size=size) as on_decoded:
        prepare_images(manifest, image_size=size, root=data_root(search.proxy.data), on_decoded=on_decoded)
    return manifest


def train_again(
    wanted: list[Replicate], *, search: Search, folder: RunFolder, manifest: Manifest, console: Console
) -> list[Replicate]:
    """Train them as the search did but for the seed; those that a machine lost come back and are not in the record."""
    jobs = [_training(each, search, manifest) for each in wanted]
    whose = {job.setup: each for job, each in zip(jobs, wanted, strict=True)}
    device, lost = "cuda" if search.resources.gpu else "cpu", []
    manifests = {REPLICATE: manifest.in_file(folder.manifest)}
    work = partial(train_one, manifests=manifests, device=device)
    prepare = partial(decode_for, {REPLICATE: search.proxy}, manifests)

    def tell(message: str) -> None:
        if message:
            console.print(message, soft_wrap=True)

    with adding(search, folder, on_wait=tell) as add, _bar(jobs, wanted, console) as bar:

        def on_end(training: Training, outcome: Outcome | None, cause: str | None) -> None:
            each = whose[training.setup]
            if outcome is None:
                lost.append(each)
                bar.end(training, accuracy=None, seconds=0.0, cause=cause)
                return
            result = outcome.model_dump(mode="json", include={"accuracy", "seconds", "cause"})
            right = outcome.curve[-1].right if outcome.accuracy is not None else None
            facts = {**result, "right": right, "seed": each.seed, "manifest": manifest.hash, "device": device}
            add(Addition(REPLICATE, each.trial, f"seed {each.seed}", facts))
            bar.end(training, accuracy=outcome.accuracy, seconds=outcome.seconds, cause=outcome.cause)

        run_jobs(jobs, work=work, resources=search.resources, on_end=on_end, prepare=prepare, console=console)
    return lost


def _training(each: Replicate, search: Search, manifest: Manifest) -> Training:
    return Training(
        fidelity=REPLICATE,
        name=f"trial {each.trial}",
        architecture=each.architecture,
        recipe=search.proxy,
        manifest=manifest.hash,
        seed=each.seed,
    )


def _bar(jobs: list[Training], wanted: list[Replicate], console: Console) -> CalibrationBar:
    """A display that reckons with what each network's first training took."""
    waiting: dict[str, Work] = {job.setup: (each.seconds,) for job, each in zip(jobs, wanted, strict=True)}
    pace = Pace()
    for work in waiting.values():
        pace.learn(work, seconds=work[0])
    return CalibrationBar(console, total=len(jobs), waiting=waiting, pace=pace)
