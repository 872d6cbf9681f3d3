import json

import pandas as pd
import pytest
from rich.console import Console

from nas.errors import NasError
from nas.results.front import COLUMNS, load, require_front
from nas.results.report import show_front
from nas.search.folder import open_folder
from nas.search.record import front
from nas.search.storage import read_records
from nas.search.study import Study
from nas.space.architecture import Architecture


@pytest.fixture
def run(tiny, tmp_path):
    """A run of five trials: three complete, one stopped, one failed, and a baseline outside the constraints."""
    settings = tiny("search.trials=5", "baselines=[poolformer_s12]")
    folder = open_folder(tmp_path / "run", settings)
    study = Study(settings, folder, manifest_hash="feed")
    for accuracy in (0.99, 0.7, None, "nan", 0.6, 0.9):
        number = study.propose().number
        study.report(number, {"epoch": 1, "accuracy": 0.5, "loss": 1.0})
        if accuracy is None:
            study.stop(number, seconds=1.0)
        elif accuracy == "nan":
            study.fail(number, cause="diverged: loss nan", seconds=1.0)
        else:
            study.finish(number, accuracy=accuracy, seconds=2.0)
    study.close()
    return folder.root


def test_the_table_has_one_row_a_trial_and_says_what_became_of_it(run):
    trials = load(run)
    assert list(trials.columns) == COLUMNS
    assert list(trials[trials.state != "answered"].state) == [
        "complete",
        "complete",
        "stopped",
        "failed",
        "complete",
        "complete",
    ]
    assert trials.accuracy.notna().sum() == (trials.state.isin(["complete", "answered"])).sum()
    assert trials.baseline.iloc[0] == "poolformer_s12"
    assert (trials.epochs[trials.state != "answered"] == 1).all()


def test_an_architecture_in_the_table_can_be_built_again(run):
    for text, key in zip(load(run).architecture, load(run).key, strict=True):
        assert Architecture.model_validate(json.loads(text)).key == key


def test_the_front_holds_affordable_complete_trials_only_cheapest_first(run):
    show_front(run, Console(quiet=True))
    best = pd.read_csv(run / "front.csv")
    assert list(best.columns) == COLUMNS
    assert (best.state == "complete").all() and best.baseline.isna().all()
    assert best.macs.is_monotonic_increasing and best.accuracy.is_monotonic_increasing
    assert 0.9 in set(best.accuracy)


def test_the_picture_and_both_tables_are_written(run):
    show_front(run, Console(quiet=True))
    assert len(pd.read_csv(run / "trials.csv")) == len(load(run))
    assert (run / "front.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_with_nothing_finished_says_what_failed(tiny, tmp_path):
    settings = tiny("search.trials=2")
    folder = open_folder(tmp_path / "run", settings)
    study = Study(settings, folder, manifest_hash="feed")
    study.fail(study.propose().number, cause="out of memory: 3 GB", seconds=1.0)
    records = read_records(settings, folder)
    with pytest.raises(NasError, match=r"no trial has finished yet.*\n  1 x failed: out of memory: 3 GB"):
        require_front(records, front(records, settings), folder)
