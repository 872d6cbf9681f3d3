"""The recipes of CONTRIBUTING.md work as they are written, and touch no more files than it says."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"## Add an? (.+?)\n.*?```diff\n(.*?)```", TEXT, flags=re.DOTALL))
FILES = {"token mixer": 3, "sampler": 2, "objective in closed form": 3, "figure to the report": 3}
CHECKS = (
    [
        "-m",
        "pytest",
        "-q",
        "-m",
        "not slow",
        "tests/test_rows.py",
        "tests/test_imports.py",
        "tests/test_names.py",
        "tests/space",
        "tests/report",
    ],
    ["-m", "mypy"],
    ["-m", "ruff", "check", "nas"],
    ["-m", "nas", "search", "mine.yaml", "--out", "run"],
    ["-m", "nas", "report", "run"],
)
SEARCH = """
name: mine
extends: search_spaces/tiny.yaml
space: {stages: {2: {mixer: shift, width: [16, 32], shift: [1, 2]}}}
objectives: [accuracy, blocks]
search: {trials: 4, sampler: climb}
"""


def applied(recipe: str, folder: Path, *, how: str) -> str:
    """What `git apply` says of a recipe in a folder."""
    command = ["git", "apply", how, "-"]
    done = subprocess.run(command, cwd=folder, input=RECIPES[recipe], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def copy(tmp_path):
    """A copy of the checkout that knows nothing of the checkout's own history."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for name in ("nas", "search_spaces", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "CONTRIBUTING.md"):
        shutil.copy(ROOT / name, folder)
    (folder / "experiments").symlink_to(ROOT / "experiments")
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    return folder


@pytest.mark.parametrize("recipe", FILES)
def test_a_recipe_can_be_applied_and_touches_as_many_files_as_it_says(copy, recipe):
    assert len(applied(recipe, copy, how="--numstat").splitlines()) == FILES[recipe]
    applied(recipe, copy, how="--check")


@pytest.mark.slow
def test_all_recipes_together_pass_the_tests_and_serve_a_search(copy):
    for recipe in RECIPES:
        applied(recipe, copy, how="--apply")
    (copy / "mine.yaml").write_text(SEARCH)
    for arguments in CHECKS:
        environment = {"PYTHONPATH": str(copy), "PATH": os.environ["PATH"], "HOME": str(copy)}
        done = subprocess.run(
            [sys.executable, *arguments], cwd=copy, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout[-4000:]}{done.stderr[-4000:]}"
    assert 'id="seconds"' in (copy / "run" / "report.html").read_text(encoding="utf-8")
