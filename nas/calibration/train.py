"""The trainings behind a calibration: planned as a value, run on Ray, each one kept the moment it ends."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.console import Console

from nas.calibration.plan import Plan, draft
from nas.calibration.progress import CalibrationBar, Pace, Work
from nas.calibration.record import SCORES_FILE, TRAININGS_FILE, Scores, Training, Trainings
from nas.calibration.work import decode_for, manifest_files, score_one, train_one, with_data, write_manifests
from nas.cluster.jobs import run_jobs
from nas.cluster.session import check_machines
from nas.cluster.stopping import Stopping
from nas.data.manifest import ManifestFile
from nas.errors import NasError
from nas.run.folder import alone, check_folder, open_folder, read_run
from nas.run.settings.search import Search
from nas.training.curve import Outcome
from nas.training.distillation.loss import check_teacher


def run_calibration(
    search: Search, *, root: Path, where: str, console: Console, announce: Callable[[Plan, Trainings], None]
) -> tuple[Plan, Trainings]:
    """Train what a calibration in the folder `root` still lacks; NasError before anything is written if it cannot begin.

    `where` names the settings in messages; `announce` hears of the plan and of what is done before the first training.
    """
    check_machines(search.resources.address, workers=search.resources.workers, cpu=search.resources.cpu)
    folder = check_folder(root, search)
    done, _ = Trainings(folder.calibration / TRAININGS_FILE), Scores(folder.calibration / SCORES_FILE)
    plan = with_data(draft(search, where=where), folder, console)
    for name, recipe in plan.fidelities.items():
        check_teacher(recipe, plan.manifests[name].class_names, where=f"{where}: calibration.fidelities.{name}")
    announce(plan, done)
    open_folder(root, search)
    with alone(folder), Stopping():
        write_manifests(plan, folder)
        done = Trainings(folder.calibration / TRAININGS_FILE)  # to which another process may have added
        manifests = manifest_files(plan, folder)
        _score(plan, Scores(folder.calibration / SCORES_FILE), manifests, console)
        _train(plan, done, manifests, console)
    return plan, done


def read_calibration(search: Search, *, root: Path, where: str, console: Console) -> tuple[Plan, Trainings]:
    """The plan and what is done of it so far; NasError where no training has ended. Nothing is trained."""
    folder, _ = read_run(root)
    done = Trainings(folder.calibration / TRAININGS_FILE)
    if not folder.calibration.is_dir():
        raise NasError(f"{root}: must hold a calibration to show, but has none. Leave out --show to begin one.")
    return with_data(draft(search, where=where), folder, console), done


def _score(plan: Plan, scores: Scores, manifests: dict[str, ManifestFile], console: Console) -> None:
    waiting = [beginning for beginning in plan.beginnings if scores.of(beginning) is None]
    if not waiting:
        return
    console.print(f"scoring {len(waiting)} untrained networks")

    def on_end(beginning: Training, result: dict[str, float] | None, cause: str | None) -> None:
        if cause is not None:
            console.print(f"no scores of {beginning.name}, seed {beginning.seed}: {cause}", soft_wrap=True)
        scores.add(beginning, result or {})

    work, prepare = partial(score_one, manifests=manifests), partial(decode_for, plan.fidelities, manifests)
    run_jobs(waiting, work=work, resources=plan.search.resources, on_end=on_end, prepare=prepare, console=console)


def _train(plan: Plan, done: Trainings, manifests: dict[str, ManifestFile], console: Console) -> None:
    waiting = [t for t in plan.trainings if not done.is_done(t)]
    if not waiting:
        return
    device = "cuda" if plan.search.resources.gpu else "cpu"
    work = partial(train_one, manifests=manifests, device=device)
    weights: dict[str, Work] = {t.setup: plan.work(t) for t in waiting}
    with CalibrationBar(console, total=len(plan.trainings), waiting=weights, pace=_pace(plan, done)) as bar:

        def on_end(training: Training, outcome: Outcome | None, cause: str | None) -> None:
            kept = outcome or Outcome(accuracy=None, seconds=0.0, cause=cause)
            done.add(training, outcome=kept, machine=outcome is None, device=device)
            bar.end(training, accuracy=kept.accuracy, seconds=kept.seconds, cause=kept.cause)

        prepare = partial(decode_for, plan.fidelities, manifests)
        run_jobs(waiting, work=work, resources=plan.search.resources, on_end=on_end, prepare=prepare, console=console)


def _pace(plan: Plan, done: Trainings) -> Pace:
    """What an earlier start of the calibration says of its speed."""
    pace = Pace()
    for training in plan.trainings:
        row = done.row(training)
        if row and not row["cause"]:
            pace.learn(plan.work(training), seconds=float(row["seconds"]))
    return pace
