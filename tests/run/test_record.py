"""A trial's record as a typed value: what a search writes is read back, and damage is one message that names trial and fact."""

import json
import shutil
import sqlite3

import pytest

from nas.errors import NasError
from nas.results.front import load
from nas.run.attempts import time_spent
from nas.run.folder import open_folder
from nas.run.reading import read
from nas.run.record import NotWritten, record_of
from nas.run.settings.search import read_search
from nas.search.study import Study
from tests.studies import epoch, finish_all

WRITTEN = {"state": "complete", "accuracy": 0.5, "macs": 7, "params": 3, "activation_bytes": 5, "frozen_params": 0}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished run of four trials."""
    root = tmp_path_factory.mktemp("finished") / "run"
    search = read_search("tiny", settings=["search.trials=4"])
    study = Study(search, open_folder(root, search), manifest_hash="feed")
    finish_all(study)
    study.close()
    return root


@pytest.fixture
def run(finished, tmp_path):
    """A copy of that run, and how a fact of its record is overwritten."""
    folder = shutil.copytree(finished, tmp_path / "run")

    def overwrite(fact: str, text: str) -> None:
        with sqlite3.connect(folder / "study.db") as connection:
            where = "key = ? AND trial_id = (SELECT trial_id FROM trials WHERE number = 1)"
            done = connection.execute(f"UPDATE trial_user_attributes SET value_json = ? WHERE {where}", (text, fact))
            assert done.rowcount == 1

    return folder, overwrite


def test_facts_are_fields_and_what_a_later_version_adds_is_left_out():
    record = record_of(3, {**WRITTEN, "from_the_future": 1, "curve": [{**epoch(1).model_dump(), "from_the_future": 1}]})
    assert (record.number, record.accuracy, record.cost.macs) == (3, 0.5, 7)
    assert record.curve == (epoch(1),)


def test_a_cost_that_is_newer_than_the_record_is_counted_and_not_shown_as_zero(run):
    folder, _ = run
    before = read(folder).record(1).cost
    with sqlite3.connect(folder / "study.db") as connection:
        connection.execute("DELETE FROM trial_user_attributes WHERE key = 'params'")
    assert before.params > 0 and read(folder).record(1).cost == before
    assert (load(folder)["params"] > 0).all()


@pytest.mark.parametrize(
    ("facts", "where"),
    [
        ({"state": "completed"}, "state"),
        ({"accuracy": "high"}, "accuracy"),
        ({"macs": "many"}, "cost"),
        ({"attempts": [{"began": "2026-01-01"}]}, "attempts.0.host"),
        ({"why": 3}, "why"),
        ({"versions": ["torch"]}, "versions"),
    ],
)
def test_a_fact_that_no_search_writes_is_refused_by_name(facts, where):
    with pytest.raises(NotWritten) as refused:
        record_of(3, {**WRITTEN, **facts})
    assert str(refused.value).startswith(f"trial 3: {where}")
    assert "Nothing was changed. Restore the record from a backup." in str(refused.value)


@pytest.mark.parametrize(
    "curve", ['[{"x": 1}]', "5", '"abc"', '{"epoch": 3}', '[{"epoch": "a"}]', "[[1]]", '[{"epoch": 1}, 7]', "", "null"]
)
def test_a_damaged_curve_is_one_message_that_names_the_run_and_the_trial(run, curve):
    folder, overwrite = run
    overwrite("curve", curve)
    with pytest.raises(NasError) as refused:
        load(folder)
    assert f"{folder}: trial 1: curve: the record must hold what a search writes" in str(refused.value)
    with pytest.raises(NotWritten, match="trial 1: curve: the record must hold what a search writes"):
        time_spent(read(folder).records)


@pytest.mark.parametrize("architecture", ['"x"', "{}", json.dumps({"stages": []}), json.dumps({"stages": [{"mixer": "gone"}]})])
def test_a_damaged_architecture_is_one_message(run, architecture):
    folder, overwrite = run
    overwrite("architecture", architecture)
    with pytest.raises(NasError, match="trial 1"):
        _ = read(folder).record(1).architecture


def test_a_table_of_architectures_that_are_none_is_one_message(run):
    folder, overwrite = run
    overwrite("architecture", "{}")
    with pytest.raises(NasError, match="holds architectures that this version cannot read"):
        load(folder)


@pytest.mark.parametrize(("fact", "text"), [("state", '"completed"'), ("accuracy", '"high"'), ("macs", "null"), ("why", "[]")])
def test_any_damaged_fact_is_one_message_that_names_the_run_and_the_trial(run, fact, text):
    folder, overwrite = run
    overwrite(fact, text)
    with pytest.raises(NasError, match=f"{folder}: trial 1: .*the record must hold what a search writes"):
        read(folder)
