"""Every input of the corpus before the command that reads it: one message or none, no traceback, nothing left or shown."""

import os
import random
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nas.calibration.train
import nas.cluster.jobs
import nas.export.directory
import nas.retraining.train
import nas.search.run
import nas.winners.replication
from nas.export.proof import Proof
from tests.hostile import inputs
from tests.hostile.inputs import Input
from tests.hostile.machine import SECRET, VARIABLES, run, tree, trouble
from tests.hostile.schemas import RECIPE_PATHS, SEARCH_PATHS, values
from tests.hostile.world import make_world

TABLE = [
    *inputs.settings(), *inputs.storages(), *inputs.flags(), *inputs.images(), *inputs.exports(), *inputs.calibrations(),
    *inputs.own_files(), *inputs.damaged_files(), *inputs.foreign_databases(), *inputs.foreign_facts(),
]  # fmt: skip
QUICK = 170  # of the table, spread over all its kinds; the slow test tries each
GROWN = 80


class Begun(BaseException):
    """A training would begin now: everything that is checked before was checked."""


def _begin(*_: object, **__: object) -> None:
    raise Begun


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("hostile") / "world")


@pytest.fixture(autouse=True)
def nothing_trains(monkeypatch):
    """No input of the corpus is about what a training does."""
    monkeypatch.setattr(nas.search.run, "run_trials", _begin)
    for module in (nas.winners.replication, nas.calibration.train, nas.cluster.jobs):
        monkeypatch.setattr(module, "run_jobs", _begin)
    monkeypatch.setattr(nas.retraining.train, "fit", _begin)
    monkeypatch.setattr(nas.export.directory, "prove", lambda expected, **_: [Proof(directory, 0.0) for directory in expected])
    for name in VARIABLES:
        monkeypatch.setenv(name, f"postgresql+psycopg2://me:{SECRET}@127.0.0.1:1/db")


def tried(case: Input, world: Path, place: Path) -> list[str]:
    """What is wrong with how a command takes an input, in a copy of the world of its own."""
    shutil.copytree(world, place)
    case.damage(place)
    arguments = [word.replace("BEST", inputs.best(world)).replace("PLACE", str(place)) for word in case.arguments]
    before, here = tree(place), Path.cwd()
    os.chdir(place)
    try:
        outcome = run(*arguments)
    finally:
        os.chdir(here)
    found = trouble(outcome, before, tree(place), says=case.says)
    if case.must_refuse and outcome.code != 2:
        found.append(f"it was accepted with {outcome.code}")
    shutil.rmtree(place)
    return found


def test_the_corpus_is_large_and_names_each_input_once():
    assert len(TABLE) >= 300
    assert len({case.name for case in TABLE}) == len(TABLE)


def _spread() -> list[Input]:
    """Some inputs of each kind, always the same."""
    chosen = random.Random(0).sample(range(len(TABLE)), QUICK)
    return [TABLE[i] for i in sorted(chosen) if not TABLE[i].is_slow]


@pytest.mark.thorough
@pytest.mark.parametrize("part", range(6))
def test_an_input_is_refused_or_taken_in_order(world, tmp_path, part):
    wrong = {case.name: found for case in _spread()[part::6] if (found := tried(case, world, tmp_path / "place"))}
    assert wrong == {}


@pytest.mark.slow
@pytest.mark.parametrize("case", TABLE, ids=lambda case: case.name[:80])
def test_every_input_is_refused_or_taken_in_order(world, tmp_path, case):
    assert tried(case, world, tmp_path / "place") == []


SET = {
    "search": (SEARCH_PATHS, ("space", "space.yaml")),
    "recipe": (RECIPE_PATHS, ("retrain", "net.json", "--recipe", "recipe.yaml", "--out", "new")),
}


@pytest.mark.thorough
@pytest.mark.parametrize("schema", SET)
def test_any_value_of_any_setting_is_refused_or_taken_in_order(world, tmp_path, schema):
    _grow(world, tmp_path, schema, most=GROWN)


@pytest.mark.slow
@pytest.mark.parametrize("schema", SET)
def test_many_values_of_any_setting_are_refused_or_taken_in_order(world, tmp_path, schema):
    _grow(world, tmp_path, schema, most=30 * GROWN)


def _grow(world: Path, tmp_path: Path, schema: str, *, most: int) -> None:
    names, command = SET[schema]
    place = shutil.copytree(world, tmp_path / "place")
    os.chdir(place)
    before = tree(place)

    @settings(max_examples=most, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(names), values)
    def check(name: str, value: str) -> None:
        outcome = run(*command, "--set", f"{name}={value}")
        after = tree(place)
        found = trouble(outcome, before, after, says=())
        if outcome.code == 2 and name.rpartition(".")[2] not in outcome.err and name.partition(".")[0] not in outcome.err:
            found.append(f"{name} is not named: {outcome.err}")
        if before != after:
            shutil.rmtree(place / "new", ignore_errors=True)
        assert found == [], f"{name}={value}"

    try:
        check()
    finally:
        os.chdir(tmp_path)
