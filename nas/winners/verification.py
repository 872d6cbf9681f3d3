"""Answers of other runs held to account: some of them are trained here, and what comes of it is compared."""

from functools import partial
from pathlib import Path

from rich.console import Console

from nas.calibration.record import Training
from nas.calibration.work import train_one
from nas.cluster.jobs import run_jobs
from nas.cluster.session import check_machines
from nas.cluster.stopping import Stopping
from nas.errors import NasError
from nas.run.reading import as_written, check_parts, read
from nas.run.record import Record
from nas.run.settings.search import Search
from nas.training.curve import Outcome
from nas.units import percent
from nas.winners.replication import prepared

VERIFIED = "verified"  # the fidelity under which these trainings run; it is written nowhere


def verify_answers(search: Search, *, root: Path, every: int, console: Console) -> None:
    """Train one of `every` answers that a run has from other runs, with the same seed, and say what came of each.

    Nothing is written. NasError where one comes to another accuracy, or where there are none.
    """
    check_machines(search.resources.address, workers=search.resources.workers, cpu=search.resources.cpu)
    reading = read(root, search)
    with as_written(reading.folder):
        check_parts(reading.records)
    chosen = [record for record in reading.trials if record.source is not None][::every]
    if not chosen:
        raise NasError(f"{root}: holds no answers of other runs, so there is nothing to verify.")
    manifest = prepared(search, reading.folder, console)
    if {record.manifest for record in chosen} != {manifest.hash}:
        raise NasError(f"{reading.folder.manifest}: is not of the images that the answers are of. Restore it from a backup.")
    jobs = [_training(record, search, manifest.hash) for record in chosen]
    whose = {job.setup: record for job, record in zip(jobs, chosen, strict=True)}
    different: list[int] = []

    def compare(training: Training, outcome: Outcome | None, cause: str | None) -> None:
        record = whose[training.setup]
        again = None if outcome is None else outcome.accuracy
        is_equal = outcome is not None and again == record.accuracy and outcome.curve[-1].right == record.right
        came_to = percent(again) if again is not None else f"no result ({cause or (outcome and outcome.cause)})"
        verdict = "the same" if is_equal else "another"
        console.print(
            f"trial {record.number}: {percent(record.accuracy)} from {record.source}, trained here {came_to}: {verdict}",
            soft_wrap=True,
        )
        different.extend([] if is_equal else [record.number])

    work = partial(train_one, manifests={VERIFIED: manifest}, device="cuda" if search.resources.gpu else "cpu")
    with Stopping():
        run_jobs(jobs, work=work, resources=search.resources, on_end=compare)
    if different:
        raise NasError(
            f"{len(different)} of {len(jobs)} answers came to another accuracy here (trials {', '.join(map(str, different))}): "
            "other processors round otherwise. If the differences matter, search with --set search.cache=false."
        )
    console.print(f"all {len(jobs)} are the same, to the last image")


def _training(record: Record, search: Search, manifest: str) -> Training:
    seed = search.training_seed if record.seed is None else record.seed
    return Training(
        fidelity=VERIFIED,
        name=f"trial {record.number}",
        architecture=record.architecture,
        recipe=search.proxy,
        manifest=manifest,
        seed=seed,
    )
