"""What the harness costs: a whole search whose trainings only sleep, against the ideal of trainings / workers times a sleep.

python experiments/harness/sleeping.py --workers 2 --trials 40
python experiments/harness/sleeping.py --workers 16 --trials 160 --seconds 10 --nodes 3
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from ray import cloudpickle

from nas.run.folder import open_folder
from nas.run.settings.search import read_search
from nas.search.study import Study
from nas.search.tune import run_trials
from nas.training.curve import Epoch, Outcome

SPACE = Path(__file__).parents[2] / "search_spaces" / "hybrid.yaml"
CLUSTER = Path(__file__).parents[1] / "chaos" / "cluster.py"


def sleep(architecture, *, seconds, on_start, on_epoch, weights, checkpoint) -> Outcome:
    """A training that takes its time and no processor; its curve says when it began."""
    on_start(())
    began = time.time()
    time.sleep(seconds)
    on_epoch(Epoch(epoch=1, accuracy=0.5, loss=1.0, train_loss=1.0, lr=began, seconds=seconds, steps=1))
    return Outcome(curve=(), accuracy=int(architecture.key[:4], 16) / 16**4, seconds=seconds)


@contextmanager
def simulated(nodes: int, workers: int) -> Iterator[str | None]:
    """The address of a cluster on this machine with so many nodes besides the head; None for no cluster."""
    if not nodes:
        yield None
        return
    command = [sys.executable, str(CLUSTER), str(nodes), str(-(-workers // nodes))]
    cluster = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield cluster.stdout.readline().strip()
    finally:
        cluster.communicate("end\n", timeout=60)


def main(
    trials: Annotated[int, typer.Option(help="Sleeping trainings.")] = 40,
    workers: Annotated[int, typer.Option(help="Trials at once.")] = 2,
    seconds: Annotated[float, typer.Option(help="How long one sleeps.")] = 1.0,
    nodes: Annotated[int, typer.Option(help="Nodes of a simulated cluster; 0 for this machine as it is.")] = 0,
) -> None:
    """Print Ray's start-up, the time from the first training's begin to the last one's end, and its ratio to the ideal."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    given = [f"search.trials={trials}", f"resources.workers={workers}", "baselines=[]", "proxy.rungs=[]"]
    with tempfile.TemporaryDirectory() as root, simulated(nodes, workers) as address:
        settings = read_search(SPACE, settings=[*given, *([f'resources.address="{address}"'] if address else [])])
        study = Study(settings, open_folder(Path(root), settings), manifest_hash="none")
        called = time.time()
        work = partial(sleep, seconds=seconds)
        run_trials(study, open_folder(Path(root), settings), work=work, resources=settings.resources)
        begins = sorted(r.curve[0].lr for r in study.records if r.curve)
    took, ideal = begins[-1] + seconds - begins[0], trials * seconds / workers
    print(f"start-up of Ray and its workers: {begins[0] - called:.1f} s")
    print(
        f"{trials} trainings of {seconds:g} s by {workers}: {took:.1f} s, {ideal / took:.2f} of the ideal rate ({ideal:.0f} s)"
    )


if __name__ == "__main__":
    typer.run(main)
