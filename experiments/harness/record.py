"""What a long record costs its driver: opening it, one more trial, and memory, for each storage.

python experiments/harness/record.py --trials 10000 --storage sqlite,journal,postgresql
"""

import multiprocessing
import os
import random
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated

import optuna
import typer
from optuna.trial import FrozenTrial, TrialState, create_trial

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "chaos")]
from server import postgresql  # noqa: E402

from nas.run.folder import open_folder, versions  # noqa: E402
from nas.run.settings import Search, read_search  # noqa: E402
from nas.run.storage import open_storage, patient  # noqa: E402
from nas.search.samplers.registry import distribution  # noqa: E402
from nas.search.study import Study  # noqa: E402
from nas.space.constraints import random_architecture  # noqa: E402
from nas.training.curve import Epoch  # noqa: E402

SPACE = Path(__file__).parents[2] / "search_spaces" / "hybrid.yaml"
EPOCHS = 6
CYCLES = 30  # trials more, after the record was opened


def made_up(search: Search, rng: random.Random) -> FrozenTrial:
    """A trial that ended, of a random affordable architecture, with an accuracy that means nothing."""
    while search.constraints.excess(cost := search.space.cost(architecture := random_architecture(search.space, rng))):
        pass
    choices = search.space.choices(architecture)
    curve = [epoch(i, accuracy=rng.random()) for i in range(1, EPOCHS + 1)]
    told = [e.model_dump(mode="json") for e in curve]
    facts = {"key": architecture.key, **cost.by_name(), "architecture": architecture.to_dict(), "curve": told}
    accuracy = curve[-1].accuracy
    return create_trial(
        params=choices,
        distributions={name: distribution(search.space.axes[name]) for name in choices},
        values=[accuracy, *(getattr(cost, name) for name in search.objectives[1:])],
        user_attrs={**facts, "seed": 0, "versions": versions(), "accuracy": accuracy, "seconds": 30.0, "state": "complete"},
        state=TrialState.COMPLETE,
    )


def epoch(number: int, *, accuracy: float) -> Epoch:
    """What a worker reports."""
    return Epoch(epoch=number, accuracy=accuracy, loss=1.0, train_loss=1.0, lr=1e-3, seconds=5.0, steps=10)


def fill(search: Search, root: Path, trials: int) -> None:
    """Begin a search in `root` and put `trials` trials into its record."""
    folder, rng = open_folder(root, search), random.Random(0)
    Study(search, folder, manifest_hash="none").close()
    study = optuna.load_study(study_name=search.name, storage=patient(open_storage(search, folder, create=True), on_wait=print))
    study.add_trials([made_up(search, rng) for _ in range(trials)])


def measure(search: Search, root: Path) -> tuple[float, ...]:
    """In a process of its own: seconds to open the record and to the first proposal, seconds a trial more, memory."""
    before = _megabytes()
    began = time.perf_counter()
    folder = open_folder(root, search)
    study = Study(
        search, folder, manifest_hash="none", storage=patient(open_storage(search, folder, create=True), on_wait=print)
    )
    opened = time.perf_counter() - began
    proposal = study.propose()
    first = time.perf_counter() - began
    began, spent = time.perf_counter(), time.process_time()
    for _ in range(CYCLES):
        study.begin(proposal.number, host="here")
        for number in range(1, EPOCHS + 1):
            study.report(proposal.number, epoch(number, accuracy=0.5))
        study.finish(proposal.number, accuracy=0.5, seconds=30.0)
        proposal = study.propose()
    wall, processor = (time.perf_counter() - began) / CYCLES, (time.process_time() - spent) / CYCLES
    return opened, first, wall, processor, _megabytes() - before


def _megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def show(kind: str, trials: int, url: list[str]) -> None:
    """One line of the table."""
    settings = [f"search.trials={trials + 10 * CYCLES}", "baselines=[]", *url]
    search, alone = read_search(SPACE, settings=settings), multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as root, ProcessPoolExecutor(1, mp_context=alone) as process:
        began = time.perf_counter()
        fill(search, Path(root), trials)
        filled = time.perf_counter() - began
        opened, first, wall, processor, memory = process.submit(measure, search, Path(root)).result()
    print(f"{kind}, {trials:,} trials: filled in {filled:.0f} s, opened in {opened:.1f} s, first proposal after {first:.1f} s;")
    print(f"  a trial more {1000 * wall:.0f} ms wall, {1000 * processor:.0f} ms processor; {memory:.0f} MB", flush=True)


def main(
    trials: Annotated[int, typer.Option(help="Trials in the record.")] = 10_000,
    storage: Annotated[str, typer.Option(help="sqlite, journal, postgresql, with commas.")] = "sqlite,journal",
    sampler: Annotated[str, typer.Option(help="Who proposes.")] = "front",
) -> None:
    """Print a line for each storage."""
    for kind in storage.split(","):
        chosen = [f"search.sampler={sampler}"]
        with tempfile.TemporaryDirectory() as place:
            if kind == "postgresql":
                os.chmod(place, 0o755)
                with postgresql(Path(place) / "server") as server:
                    show(kind, trials, [*chosen, f"search.storage={server.url}"])
            elif kind == "journal":
                show(kind, trials, [*chosen, f"search.storage=journal://{place}/run.journal"])
            else:
                show(kind, trials, chosen)


if __name__ == "__main__":
    typer.run(main)
