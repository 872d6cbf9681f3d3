"""What a person sees of a search that ends before its budget."""

import io

import pytest
from rich.console import Console

from nas.search.folder import open_folder
from nas.search.progress import Progress
from nas.search.study import Study


def shown(study: Study) -> str:
    text = io.StringIO()
    with Progress(study.search, Console(file=text, width=200)) as progress:
        progress.watch(study)
    return text.getvalue()


def test_a_limit_that_ends_a_search_is_named_with_the_way_on(tiny, tmp_path):
    search = tiny("resources.gpu=1", "search.max_gpu_hours=1")
    study = Study(search, open_folder(tmp_path, search), manifest_hash="feed")
    number = study.propose().number
    study.begin(number, host="a")
    study.finish(number, accuracy=0.5, seconds=7200.0)
    assert "the search ends before its budget: search.max_gpu_hours=1 (2.00 GPU-hours used); raise it to continue" in shown(
        study
    )


def test_a_search_that_spent_its_budget_ends_without_a_word(tiny, tmp_path):
    search = tiny("search.trials=1")
    study = Study(search, open_folder(tmp_path, search), manifest_hash="feed")
    study.finish(study.propose().number, accuracy=0.5, seconds=1.0)
    assert "ends" not in shown(study)


def test_an_error_is_not_taken_for_the_end(tiny, tmp_path):
    search = tiny()
    with pytest.raises(ZeroDivisionError), Progress(search, Console(file=io.StringIO())) as progress:
        progress.watch(Study(search, open_folder(tmp_path, search), manifest_hash="feed"))
        raise ZeroDivisionError
