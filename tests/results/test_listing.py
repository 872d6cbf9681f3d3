import io
import os

import pytest
from rich.console import Console

from nas.errors import NasError
from nas.results.listing import run_line, show_runs
from tests.studies import finish_all, finish_next


def test_a_run_is_done_stopped_or_running(tiny, opened, tmp_path):
    study = opened(tiny("search.trials=3", "proxy.rungs=[]"))
    finish_next(study)
    root = tmp_path / "run"
    assert run_line(root).state == "running, 1 of 3 trained"
    for file in root.glob("study.db*"):
        os.utime(file, (1, 1))
    assert run_line(root).state == "stopped, 1 of 3 trained"
    finish_all(study)
    assert run_line(root).state == "done, 3 trained in full"
    assert run_line(root).data == "digits" and " MACs" in run_line(root).best and run_line(root).began[:2] == "20"


def test_a_damaged_run_is_listed_with_its_fault_beside_whole_ones(tiny, opened, tmp_path):
    finish_all(opened(tiny("search.trials=1")))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "search.yaml").write_text("name: [")
    output = io.StringIO()
    show_runs((tmp_path,), Console(file=output, width=200))
    assert "unreadable: " in output.getvalue() and "done, 1 trained" in output.getvalue()


def test_a_folder_without_runs_is_refused_with_the_way_to_one(tmp_path):
    with pytest.raises(NasError, match=r"holds no run\. Give another folder, or start one: .*nas search hybrid"):
        show_runs((tmp_path,), Console())
