"""What the harness costs: a whole search whose trainings sleep for a second, against the ideal of trainings / workers seconds.

python experiments/harness/sleeping.py --trials 40 --workers 2
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from ray import cloudpickle

from nas.search.folder import open_folder
from nas.search.settings import read_search
from nas.search.study import Study
from nas.search.tune import run_trials
from nas.training.loop import Epoch
from nas.training.proxy import Outcome

SPACE = Path(__file__).parents[2] / "search_spaces" / "hybrid.yaml"
SECONDS = 1.0


def sleep(architecture, *, on_start, on_epoch, weights, checkpoint) -> Outcome:
    """A training that takes a second and no processor; its curve says when it began."""
    began = time.time()
    time.sleep(SECONDS)
    on_epoch(Epoch(epoch=1, accuracy=0.5, loss=1.0, train_loss=1.0, lr=began, seconds=SECONDS, steps=1))
    return Outcome(curve=(), accuracy=int(architecture.key[:4], 16) / 16**4, seconds=SECONDS)


def main(
    trials: Annotated[int, typer.Option(help="Sleeping trainings.")] = 40,
    workers: Annotated[int, typer.Option(help="Trials at once.")] = 2,
) -> None:
    """Print Ray's start-up, the time from the first training's begin to the last one's end, and its ratio to the ideal."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    settings = read_search(
        SPACE, settings=[f"search.trials={trials}", f"resources.workers={workers}", "baselines=[]", "proxy.rungs=[]"]
    )
    with tempfile.TemporaryDirectory() as root:
        study = Study(settings, open_folder(Path(root), settings), manifest_hash="none")
        called = time.time()
        run_trials(study, open_folder(Path(root), settings), work=sleep, resources=settings.resources)
        begins = sorted(r.curve[0]["lr"] for r in study.records if r.curve)
    took, ideal = begins[-1] + SECONDS - begins[0], trials * SECONDS / workers
    print(f"start-up of Ray and its workers: {begins[0] - called:.1f} s")
    print(f"{trials} trainings of {SECONDS:.0f} s by {workers}: {took:.1f} s, {took / ideal:.2f} x the ideal {ideal:.0f} s")


if __name__ == "__main__":
    typer.run(main)
