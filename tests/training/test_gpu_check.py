"""The script that waits for a GPU runs today: all its stages, on a CPU, in small."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.thorough
SCRIPT = Path(__file__).parents[2] / "experiments" / "gpu" / "check.py"


def checked(tmp_path, *arguments):
    command = [sys.executable, str(SCRIPT), "--device", "cpu", "--dry", "--out", str(tmp_path / "facts.jsonl"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    return done, [json.loads(line) for line in (tmp_path / "facts.jsonl").read_text().splitlines()]


def test_every_stage_runs_on_a_cpu_and_every_rule_holds(tmp_path):
    done, facts = checked(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not [each for each in facts if "trouble" in each or each.get("holds") is False]
    assert f"| {facts[-1]['stage']} |" in done.stdout and len(facts) == 16


def test_a_stage_for_which_no_time_is_left_is_named_and_not_passed_over(tmp_path):
    done, facts = checked(tmp_path, "facts", "--budget", "1")
    assert done.returncode == 1 and facts == [{"stage": "facts", "trouble": "no time left"}]


def test_an_unknown_stage_is_refused_with_the_names(tmp_path):
    done = subprocess.run([sys.executable, str(SCRIPT), "speeed"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "no stage is called speeed; there are facts, forward" in done.stderr


@pytest.mark.parametrize("package", ["ray", "optuna"])
def test_what_it_trains_with_needs_no_ray_and_no_optuna(package):
    blocked = f"import sys; sys.modules[{package!r}] = None; sys.path.insert(0, {str(SCRIPT.parent)!r}); import stages"
    subprocess.run([sys.executable, "-c", blocked], check=True, cwd=SCRIPT.parents[2])
