"""What a long record costs its driver before it proposes anything, for each storage; driver.py has what a trial costs it.

python experiments/harness/record.py --trials 10000 --storage sqlite,journal,postgresql
"""

import multiprocessing
import os
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated

import typer

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "chaos")]
from driver import SPACE, fill  # noqa: E402
from server import postgresql  # noqa: E402

from nas.run.folder import open_folder  # noqa: E402
from nas.run.settings.search import Search, read_search  # noqa: E402
from nas.run.storage import open_storage, patient  # noqa: E402
from nas.search.study import Study  # noqa: E402


def measure(search: Search, root: Path) -> tuple[float, float, float]:
    """In a process of its own: seconds to open the record and to the first proposal, and memory."""
    before, began = _megabytes(), time.perf_counter()
    folder = open_folder(root, search)
    storage = patient(open_storage(search, folder, create=True), on_wait=print)
    study = Study(search, folder, manifest_hash="none", storage=storage)
    opened = time.perf_counter() - began
    study.propose()
    return opened, time.perf_counter() - began, _megabytes() - before


def _megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def show(kind: str, trials: int, url: list[str]) -> None:
    """One line of the table."""
    settings = [f"search.trials={4 * trials}", "baselines=[]", *url]
    search, alone = read_search(SPACE, settings=settings), multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as root, ProcessPoolExecutor(1, mp_context=alone) as process:
        began = time.perf_counter()
        fill(search, Path(root), trials)
        filled = time.perf_counter() - began
        opened, first, memory = process.submit(measure, search, Path(root)).result()
    times = f"filled in {filled:.0f} s, opened in {opened:.1f} s, first proposal after {first:.1f} s"
    print(f"{kind}, {trials:,} trials: {times}; {memory:.0f} MB", flush=True)


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
