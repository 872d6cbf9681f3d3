"""The trainings behind a calibration: planned as a value, run on Ray, each one kept the moment it ends."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.console import Console

from nas.calibration.plan import Plan, draft
from nas.calibration.progress import CalibrationBar, Pace
from nas.calibration.record import Training, Trainings, hashed
from nas.cluster.jobs import run_jobs
from nas.cluster.session import check_address
from nas.cluster.stopping import Stopping
from nas.data.draw import make_manifest
from nas.data.manifest import Manifest, prepare_images, read_manifest
from nas.data.progress import shown_decoding
from nas.data.registry import data_root
from nas.errors import NasError
from nas.recipes.recipe import Proxy
from nas.run.folder import RunFolder, alone, open_folder, read_run
from nas.run.settings import Search
from nas.training.curve import Outcome
from nas.training.proxy import train_proxy

WHICH_DATA = ("data", "classes", "images_per_class", "validation_share", "unreadable_share")


def run_calibration(
    search: Search, *, root: Path, where: str, console: Console, announce: Callable[[Plan, Trainings], None]
) -> tuple[Plan, Trainings]:
    """Train what a calibration in the folder `root` still lacks; NasError before anything is written if it cannot begin.

    `where` names the settings in messages; `announce` hears of the plan and of what is done before the first training.
    """
    check_address(search.resources.address)
    drafted = draft(search, where=where)
    folder = open_folder(root, search)
    with alone(folder), Stopping():
        plan = with_data(drafted, folder, console)
        done = Trainings(folder.calibration / "trainings.csv")
        announce(plan, done)
        _train(plan, done, console)
    return plan, done


def read_calibration(search: Search, *, root: Path, where: str, console: Console) -> tuple[Plan, Trainings]:
    """The plan and what is done of it so far; NasError where no training has ended. Nothing is trained."""
    folder, _ = read_run(root)
    done = Trainings(folder.calibration / "trainings.csv")
    if not folder.calibration.is_dir():
        raise NasError(f"{root}: must hold a calibration to show, but has none. Leave out --show to begin one.")
    return with_data(draft(search, where=where), folder, console), done


def with_data(plan: Plan, folder: RunFolder, console: Console) -> Plan:
    """The plan with its images listed and decoded and its trainings in order."""
    search, manifests = plan.search, {}
    for name, recipe in plan.fidelities.items():
        with shown_decoding(console, image_size=recipe.full_size) as on_decoded:
            manifests[name] = _manifest(recipe, folder, seed=search.split_seed, on_decoded=on_decoded)
            prepare_images(manifests[name], image_size=recipe.full_size, root=data_root(recipe.data), on_decoded=on_decoded)
    trainings = tuple(
        Training(
            fidelity=fidelity,
            name=name,
            architecture=architecture,
            recipe=recipe,
            manifest=manifests[fidelity].hash,
            seed=search.training_seed + seed,
        )
        for seed in range(search.calibration.seeds)
        for fidelity, recipe in plan.fidelities.items()
        for name, architecture in plan.architectures.items()
    )
    return plan._replace(manifests=manifests, trainings=trainings)


def _manifest(recipe: Proxy, folder: RunFolder, *, seed: int, on_decoded: Callable) -> Manifest:
    """The images of a data setting: as they were drawn when the calibration began, else drawn now."""
    setting = hashed([recipe.model_dump(mode="json", include=set(WHICH_DATA)), seed])
    path = folder.calibration / "manifests" / f"{setting}.json"
    if path.exists():
        return read_manifest(path)
    manifest = make_manifest(recipe, seed=seed, on_decoded=on_decoded)
    manifest.write(path)
    return manifest


def train_one(training: Training, *, manifests: dict[str, Manifest], device: str) -> Outcome:
    """One training in a worker."""
    manifest, root = manifests[training.fidelity], data_root(training.recipe.data)
    return train_proxy(training.architecture, training.recipe, manifest, seed=training.seed, device=device, root=root)


def _train(plan: Plan, done: Trainings, console: Console) -> None:
    waiting = [t for t in plan.trainings if not done.is_done(t)]
    if not waiting:
        return
    device = "cuda" if plan.search.resources.gpu else "cpu"
    work = partial(train_one, manifests=plan.manifests, device=device)
    weights = {t.setup: (t.name, plan.work(t)) for t in waiting}
    with CalibrationBar(console, total=len(plan.trainings), waiting=weights, pace=_pace(plan, done)) as bar:

        def on_end(training: Training, outcome: Outcome | None, cause: str | None) -> None:
            kept = outcome or Outcome(accuracy=None, seconds=0.0, cause=cause)
            done.add(training, outcome=kept, machine=outcome is None, device=device)
            bar.end(training, accuracy=kept.accuracy, seconds=kept.seconds, cause=kept.cause)

        run_jobs(waiting, work=work, resources=plan.search.resources, on_end=on_end)


def _pace(plan: Plan, done: Trainings) -> Pace:
    """What an earlier start of the calibration says of its speed."""
    pace = Pace()
    for training in plan.trainings:
        row = done.row(training)
        if row and not row["cause"]:
            pace.learn(training.name, work=plan.work(training), seconds=float(row["seconds"]))
    return pace
