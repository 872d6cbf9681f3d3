"""Trainings of a search's networks with other seeds: run on Ray, each one in the record the moment it ends."""

from functools import partial
from typing import NamedTuple

from rich.console import Console

from nas.search.additions import REPLICATE, Addition, adding
from nas.search.calibration import train_one
from nas.search.calibration_bar import CalibrationBar, Pace
from nas.search.decoding_bar import shown_decoding
from nas.search.folder import RunFolder
from nas.search.settings import Search
from nas.search.trainings import Training
from nas.search.tune import run_jobs
from nas.space.architecture import Architecture
from nas.training.data import Manifest, prepare, read_manifest
from nas.training.proxy import Outcome
from nas.training.sources import data_root


class Replicate(NamedTuple):
    """A trial that is to be trained again."""

    trial: int
    architecture: Architecture
    seed: int
    seconds: float
    """What its first training took."""


def prepared(search: Search, folder: RunFolder, console: Console) -> Manifest:
    """The search's own images, checked and decoded; NasError where they are gone."""
    manifest, size = read_manifest(folder.manifest), search.proxy.full_size
    with shown_decoding(console, image_size=size) as told:
        prepare(manifest, image_size=size, root=data_root(search.proxy.data), on_decoded=told)
    return manifest


def train_again(
    wanted: list[Replicate], *, search: Search, folder: RunFolder, manifest: Manifest, console: Console
) -> list[Replicate]:
    """Train them as the search did but for the seed; those that a machine lost come back and are not in the record."""
    jobs = [_training(each, search, manifest) for each in wanted]
    whose = {job.setup: each for job, each in zip(jobs, wanted, strict=True)}
    device, lost = "cuda" if search.resources.gpu else "cpu", []
    work = partial(train_one, manifests={REPLICATE: manifest}, device=device)

    def tell(message: str) -> None:
        if message:
            console.print(message, highlight=False, soft_wrap=True)

    with adding(search, folder, on_wait=tell) as add, _bar(jobs, wanted, console) as bar:

        def on_end(training: Training, outcome: Outcome | None, cause: str | None) -> None:
            each, found = whose[training.setup], {"accuracy": None, "seconds": 0.0, "cause": cause}
            if outcome is None:
                lost.append(each)
            else:
                found = outcome.model_dump(mode="json", include=set(found))
                facts = {**found, "seed": each.seed, "manifest": manifest.hash, "device": device}
                add(Addition(REPLICATE, each.trial, f"seed {each.seed}", facts))
            bar.ended(training, **found)

        run_jobs(jobs, work=work, resources=search.resources, on_end=on_end)
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
    pace = Pace()
    for job, each in zip(jobs, wanted, strict=True):
        pace.learn(job.name, work=1.0, seconds=each.seconds)
    return CalibrationBar(console, total=len(jobs), left={job.setup: (job.name, 1.0) for job in jobs}, pace=pace)
