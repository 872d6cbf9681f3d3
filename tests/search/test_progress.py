"""What a person sees of a search: a line for each trial that ends, and why it ends before its budget."""

import io
from functools import partial

import pytest
from rich.console import Console

from nas.run.folder import open_folder
from nas.run.front import front_records
from nas.search.forecast import Forecast
from nas.search.progress import SearchProgress
from nas.search.study import Study
from nas.terminal import Terminal
from tests.studies import epoch, finish_next


def shown(study: Study) -> str:
    text = io.StringIO()
    with SearchProgress(study.search, Console(file=text, width=200)) as progress:
        progress.watch(study)
    return text.getvalue()


def test_every_end_of_a_trial_is_a_line_with_what_it_reached(tiny, tmp_path):
    search = tiny("search.trials=3", "baselines=[]")
    study, text = Study(search, open_folder(tmp_path, search), manifest_hash="feed"), io.StringIO()
    with SearchProgress(search, Console(file=text, width=200)) as progress:
        progress.watch(study)
        first, second, third = (study.propose().number for _ in range(3))
        study.report(first, epoch(1, 0.25))
        for end in (
            partial(study.stop, first),
            partial(study.finish, second, accuracy=0.5, seconds=1.0),
            partial(study.fail, third, cause="the loss was nan", seconds=1.0),
        ):
            end()
            progress.changed(front_records(study.records, study.search))
    head, *lines = text.getvalue().splitlines()
    assert head.startswith("starting Ray and its workers")
    begins = [line.split(" MACs")[0].rsplit(",", 1)[0] for line in lines]
    assert begins == [
        f"[1/3, 0 in full] trial {first} stopped at a rung: 25.0 % after epoch 1",
        f"[2/3, 1 in full] trial {second} trained in full: 50.0 %",
        f"[3/3, 1 in full] trial {third} failed: the loss was nan",
    ]


def test_a_limit_that_ends_a_search_is_named_with_the_way_on(tiny, tmp_path):
    search = tiny("resources.gpu=1", "search.max_gpu_hours=1")
    study = Study(search, open_folder(tmp_path, search), manifest_hash="feed")
    number = study.propose().number
    study.begin(number, host="a")
    study.finish(number, accuracy=0.5, seconds=7200.0)
    assert "the search ends before its budget: search.max_gpu_hours=1 (2.00 GPU-hours used); raise it to continue" in shown(
        study
    )


def test_trials_that_a_limit_leaves_waiting_are_counted(tiny, tmp_path):
    search = tiny("resources.gpu=1", "search.max_gpu_hours=1", "baselines=[]", "search.trials=9", "proxy.rungs=[1]")
    study = Study(search, open_folder(tmp_path, search), manifest_hash="feed")
    study.report(study.propose().number, epoch(1, 0.5))
    number = study.propose().number
    study.begin(number, host="a")
    study.finish(number, accuracy=0.5, seconds=7200.0)
    assert "ends before its budget, 1 still waiting at a rung: search.max_gpu_hours=1" in shown(study)


def test_a_search_that_spent_its_budget_ends_without_a_word(tiny, tmp_path):
    search = tiny("search.trials=1")
    study = Study(search, open_folder(tmp_path, search), manifest_hash="feed")
    study.finish(study.propose().number, accuracy=0.5, seconds=1.0)
    assert "ends" not in shown(study)


def test_an_error_is_not_taken_for_the_end(tiny, tmp_path):
    search = tiny()
    with pytest.raises(ZeroDivisionError), SearchProgress(search, Console(file=io.StringIO())) as progress:
        progress.watch(Study(search, open_folder(tmp_path, search), manifest_hash="feed"))
        raise ZeroDivisionError


def test_a_display_that_breaks_says_so_and_the_search_goes_on(tiny, tmp_path, monkeypatch):
    study, output = Study(tiny(), open_folder(tmp_path, tiny()), manifest_hash="feed"), io.StringIO()
    console = Terminal(file=output, width=200, lasting=True)
    with SearchProgress(tiny(), console) as progress:
        progress.watch(study)
        finish_next(study)
        monkeypatch.setattr(progress, "_line", lambda *_: 1 / 0)
        progress.changed(front_records(study.records, study.search))
    assert "the search goes on, but its display broke: division by zero" in output.getvalue()


def test_a_time_left_that_takes_long_to_work_out_counts_down_in_between(tiny, tmp_path, monkeypatch):
    clock, asked = [1000.0], []

    def slow(self, records):
        asked.append(clock[0])
        clock[0] += 1.0
        return 600.0

    monkeypatch.setattr("nas.search.progress.time.monotonic", lambda: clock[0])
    monkeypatch.setattr(Forecast, "seconds_left", slow)
    search = tiny("search.trials=9", "baselines=[]")
    study, text = Study(search, open_folder(tmp_path, search), manifest_hash="feed"), io.StringIO()
    with SearchProgress(search, Console(file=text, width=200)) as progress:
        progress.watch(study)
        for _ in range(4):
            finish_next(study)
            progress.changed(front_records(study.records, study.search))
            clock[0] += 40.0
    ends = [line.rpartition("ETA ")[2] for line in text.getvalue().splitlines()[1:]]
    assert ends == ["10 min", "9 min", "10 min", "9 min"] and len(asked) == 2
