"""The trainings of a calibration on one machine without Ray, so many at once, continued where an earlier call was killed.

    python experiments/calibration/reference/train.py YAML --data DIR --out FOLDER

Everything lies in the folder as `nas calibrate` would put it: `nas calibrate YAML --data DIR --out FOLDER --show` shows it.
A training that was killed goes on from its last epoch. They are done fidelity by fidelity, each with a seed, in the order of
--order.
"""

import argparse
import gzip
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from threading import Thread

from rich.console import Console

from nas.calibration.plan import draft
from nas.calibration.record import Training, Trainings
from nas.calibration.work import train_one, with_data
from nas.run.folder import alone, open_folder
from nas.run.settings.search import read_search
from nas.training.curve import Outcome
from nas.units import duration, percent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("yaml")
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--order", nargs="+", default=["tenth:0", "tenth:1", "reference:0", "reference:1"], metavar="NAME:SEED")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--begin-with", type=Path, metavar="CSV.GZ", help="trainings that have ended elsewhere")
    asked = parser.parse_args()
    search = read_search(asked.yaml, settings=[f"proxy.data={asked.data}"])
    folder, console = open_folder(asked.out, search), Console()
    with alone(folder):
        if asked.begin_with and not (folder.calibration / "trainings.csv").exists():
            folder.calibration.mkdir(exist_ok=True)
            (folder.calibration / "trainings.csv").write_bytes(gzip.decompress(asked.begin_with.read_bytes()))
        plan = with_data(draft(search, where=asked.yaml), folder, console)
        done = Trainings(folder.calibration / "trainings.csv")
        places = {name: place for place, name in enumerate(asked.order)}
        waiting = [t for t in plan.trainings if f"{t.fidelity}:{t.seed}" in places and not done.is_done(t)]
        waiting.sort(key=lambda t: places[f"{t.fidelity}:{t.seed}"])
        work = partial(resumable, manifests=plan.manifests, device=asked.device, folder=folder.calibration / "checkpoints")
        train(waiting, done, work=work, workers=asked.workers, device=asked.device)


def train(waiting: list, done: Trainings, *, work: partial, workers: int, device: str) -> None:
    """Each training in a process of its own pool, put down the moment it ends."""
    context, started = multiprocessing.get_context("spawn"), time.monotonic()
    with ProcessPoolExecutor(workers, mp_context=context, initializer=begin_worker, initargs=(os.getpid(),)) as pool:
        futures = {pool.submit(work, training): training for training in waiting}
        for number, future in enumerate(as_completed(futures), start=1):
            training = futures[future]
            try:
                outcome = future.result()
            except BrokenProcessPool:
                raise SystemExit("a worker was killed; the same command continues") from None
            done.add(training, outcome=outcome, machine=False, device=device)
            checkpoint_of(training, work.keywords["folder"]).unlink(missing_ok=True)
            left = (time.monotonic() - started) / number * (len(waiting) - number)
            print(
                f"[{number}/{len(waiting)}] {training.fidelity}:{training.seed} {training.name}: "
                f"{outcome.cause or percent(outcome.accuracy)} in {duration(outcome.seconds)} · ETA {duration(left)}",
                flush=True,
            )


def resumable(training: Training, *, folder: Path, **options) -> Outcome:
    """One training, which goes on from its last epoch if it was killed."""
    folder.mkdir(exist_ok=True)
    checkpoint = checkpoint_of(training, folder)
    return train_one(training, checkpoint=checkpoint, **options)


def checkpoint_of(training: Training, folder: Path) -> Path:
    """Where a training's last epoch lies until its outcome is put down."""
    return folder / f"{training.setup}.pt"


def begin_worker(parent: int) -> None:
    """Workers share the machine's cores, one each, and end when their parent is killed."""
    import torch

    torch.set_num_threads(1)
    Thread(target=end_with, args=(parent,), daemon=True).start()


def end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    main()
