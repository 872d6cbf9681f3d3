"""What the command line says at the end of a search."""

import io
import json
import re

import pandas as pd
import pytest
from rich.console import Console

from nas.errors import NasError
from nas.report.ending import cost_line, remarks, show_result
from nas.run.attempts import TimeSpent
from nas.run.folder import open_folder
from nas.run.reading import read
from nas.search.study import Study
from tests.studies import epoch


def trials(*curves):
    return pd.DataFrame({"trial": range(len(curves)), "curve": [json.dumps(curve) for curve in curves]})


def test_trainings_that_were_not_quite_as_the_recipe_says_are_counted_by_trial():
    epochs = [{}, {"retried": "diverged: loss nan"}, {"pieces": 4}, {"retried": None, "pieces": 1}]
    retried, cut = remarks(trials(*([epoch] for epoch in epochs), []))
    assert "begun again once at a lower learning rate: 1 (trials 1)" in retried
    assert "for want of memory: 1 (trials and pieces 2 (4))" in cut


def test_ordinary_trainings_need_no_remark():
    assert remarks(trials([{"epoch": 1}])) == []


def test_time_that_was_for_nothing_is_said_by_its_kind():
    spent = TimeSpent(seconds=7200.0, failed_seconds=72.0, repeated_seconds=36.0, gpu_seconds=3600.0)
    whole, wasted = cost_line(spent).split(", of it ")
    assert whole == "2 h 00 min and 1.0 GPU-hours of training in all"
    assert wasted == "1.0 % failed and 0.5 % trained again after interruptions"


def test_a_search_without_waste_says_how_long_it_took_and_no_more():
    spent = TimeSpent(seconds=120.0, failed_seconds=0.0, repeated_seconds=0.0, gpu_seconds=0.0)
    assert cost_line(spent) == "2 min of training in all"


def test_the_end_of_a_search_needs_no_password_again(tiny, tmp_path):
    """The run's folder holds none, and the search that was just made knows it."""
    search, root = tiny(f"search.storage=sqlite:///{tmp_path}/server.db"), tmp_path / "run"
    study = Study(search, open_folder(root, search), manifest_hash="feed")
    study.finish(study.propose().number, accuracy=0.5, seconds=1.0)
    text = (root / "search.yaml").read_text()
    (root / "search.yaml").write_text(text.replace("sqlite:///", "postgresql://me:***@host/"))
    with pytest.raises(NasError, match="Set NAS_STORAGE"):
        read(root)
    show_result(search, root=root, console=Console(quiet=True))
    assert (root / "front.csv").is_file()


@pytest.fixture
def ending(tiny, tmp_path):
    """What a search says whose trials reached these accuracies; None was stopped at a rung."""

    def text(*accuracies):
        search, root = tiny(f"search.trials={len(accuracies)}"), tmp_path / "run"
        study = Study(search, open_folder(root, search), manifest_hash="feed")
        for accuracy in accuracies:
            number = study.propose().number
            if accuracy is None:
                study.report(number, epoch(1, 0.3))
                study.stop(number)
            else:
                study.finish(number, accuracy=accuracy, seconds=1.0)
        study.close()
        output = io.StringIO()
        show_result(search, root=root, console=Console(width=300, file=output))
        return root, output.getvalue()

    return text


def test_the_next_step_is_the_report_then_the_network_that_the_table_calls_the_knee(ending):
    root, text = ending(*(i / 10 for i in range(1, 9)))
    assert re.search(rf"Next, one page with everything: \S*.*nas report {root}\n", text)
    knees = re.findall(r"^ +(\d+) .* knee", text, re.MULTILINE)
    takes = re.findall(r"Trial (\d+), the (knee|most accurate), trained at length: .* --trial (\d+) ", text)
    assert takes and takes[0][0] == takes[0][2] and (not knees or takes[0][:2] == (knees[0], "knee"))


def test_a_front_of_one_says_that_the_others_were_stopped(ending):
    _, text = ending(0.9, None, None)
    assert "the front is one network: 2 others got no farther than a rung, so that more may be as good" in text
