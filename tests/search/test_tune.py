"""Ray for real: one search on the embedded digits, from a fresh folder to a front, and what a worker's death does to it."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
from ray import cloudpickle

from nas.errors import NasError
from nas.results.front import load
from nas.run.folder import alone, open_folder
from nas.run.settings.sections import Resources
from nas.search.study import Study
from nas.search.tune import run_trials
from nas.training.curve import Epoch, Outcome

ROOT = Path(__file__).parents[2]
TWO = Resources(workers=2)
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test


def quick(architecture, *, on_start, on_epoch, weights, checkpoint):
    """A training that takes no time."""
    curve = tuple(Epoch(epoch=i, accuracy=0.1 * i, loss=1.0, train_loss=1.0, lr=0.1, seconds=0.0, steps=1) for i in (1, 2, 3))
    for epoch in curve:
        on_epoch(epoch)
    return Outcome(curve=curve, accuracy=curve[-1].accuracy, seconds=0.0)


def troubled(architecture, *, on_start, on_epoch, weights, checkpoint):
    """Three kinds of trouble by the first stage's mixer, no trouble otherwise."""
    kind = architecture.stages[0].mixer
    if kind == "pool":
        return Outcome(curve=(), accuracy=None, seconds=0.0, cause="diverged: loss nan at epoch 1, step 1")
    if kind == "identity":
        os.kill(os.getpid(), signal.SIGKILL)
    return quick(architecture, on_start=on_start, on_epoch=on_epoch, weights=weights, checkpoint=checkpoint)


@pytest.mark.slow
def test_trouble_in_a_worker_is_recorded_with_its_cause_and_the_search_goes_on(tiny, tmp_path):
    one_each = ["space.stages.1.depth=1", "space.stages.1.width=8", "space.stages.2={mixer: pool, width: 16, depth: 1}"]
    settings = tiny(*one_each, "space.stages.3={mixer: random, width: 32, depth: 1}", "search.trials=3", "proxy.rungs=[]")
    folder = open_folder(tmp_path, settings)
    study = Study(settings, folder, manifest_hash="feed")
    run_trials(study, folder, work=troubled, resources=TWO)
    found = {r.architecture.stages[0].mixer: r for r in study.records if r.state in ("complete", "failed")}
    assert (found["conv"].state, len(found["conv"].curve)) == ("complete", 3)
    assert found["pool"].cause == "diverged: loss nan at epoch 1, step 1"
    assert found["identity"].cause.startswith("the worker died 3 times")
    assert not (tmp_path / ".ray").exists()


class Survivor(NamedTuple):
    """A search on the embedded digits whose driver was killed once, and whose command was then given again."""

    root: Path
    before: pd.DataFrame
    """Its trials when the driver was killed."""
    again: subprocess.CompletedProcess


@pytest.fixture(scope="module")
def survivor(tmp_path_factory):
    place = tmp_path_factory.mktemp("survivor")
    command = [sys.executable, "run_search.py", "search_spaces/tiny.yaml", "--out", str(place / "run"), "--trials", "5"]
    with (place / "log").open("w") as log:
        killed = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + 300
    while "trained in full" not in (place / "log").read_text() and time.monotonic() < deadline:
        time.sleep(0.2)
    killed.kill()
    killed.wait()
    before = load(place / "run")
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=400)
    return Survivor(place / "run", before, again)


def test_a_search_on_the_embedded_digits_ends_with_a_front_and_the_weights_of_it(survivor):
    trials = load(survivor.root)
    trained = trials[trials.state.isin(["complete", "stopped"])]
    assert len(trained) == 5
    assert (trained[trained.state == "complete"].epochs == 3).all()
    assert set(trained.manifest) == {trained.manifest.iloc[0]}
    kept = {int(p.stem) for p in (survivor.root / "weights").iterdir()}
    assert kept and kept <= set(trained[trained.state == "complete"].trial)
    assert "Pareto front" in survivor.again.stdout and survivor.again.stderr == ""


def test_the_same_command_after_sigkill_continues_and_repeats_nothing(survivor):
    before, after = survivor.before, load(survivor.root).set_index("trial")
    done = before[before.state == "complete"].set_index("trial").accuracy
    assert len(done) >= 1
    number = int(re.search(r"continuing: (\d+) architectures", survivor.again.stdout)[1])
    ended = before.state.isin(["complete", "paused", "stopped"]).sum()
    assert ended <= number <= ended + (before.state == "running").sum()  # some of these may be past the rung
    assert (after.accuracy[done.index] == done).all()
    assert after.state.isin(["complete", "stopped", "answered"]).all()
    assert after[after.state != "answered"].key.is_unique
    assert len(after[after.state != "answered"]) == 5


def test_a_second_driver_of_one_run_is_refused(tiny, tmp_path):
    folder = open_folder(tmp_path, tiny())
    with alone(folder), pytest.raises(NasError, match="another process is training there"), alone(folder):
        pass
