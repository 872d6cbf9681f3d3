"""A search that is shot at ends as an unkilled one: a short version of experiments/chaos."""

import random
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "experiments" / "chaos"))
import shoot  # isort: skip


@pytest.fixture(scope="module")
def unkilled(tmp_path_factory):
    run = shoot.Run(tmp_path_factory.mktemp("unkilled"), "unkilled", *FEWER)
    run.end()
    return run


FEWER = ("--trials", "32")
SHOTS = {"driver": 3, "remembering": 3, "interrupt": 1, "worker": 1}


@pytest.mark.slow
@pytest.mark.parametrize("kind", SHOTS)
def test_nothing_is_lost_repeated_or_decided_otherwise(tmp_path, unkilled, monkeypatch, kind):
    monkeypatch.setattr(shoot.Run, "first", unkilled)
    monkeypatch.setattr(shoot, "TRIALS", FEWER)
    shot, _ = shoot.SCENES[kind]
    result = shot(tmp_path, SHOTS[kind], random.Random(0), unkilled.folder)
    assert result.shots == SHOTS[kind]
    assert result.broken == ()
