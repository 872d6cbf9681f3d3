"""Programs that call us, each in a process of its own: light to import, no riddles, and the README's example."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DECODES = """
import numpy as np
import nas.data.decoding
nas.data.decoding.PAYS = 0  # seconds: all cores decode even so few
from nas.data.draw import make_manifest
from nas.interface.images import as_archive
from nas.run.settings.search import read_search
images = np.random.default_rng(0).integers(0, 256, (300, 8, 8), dtype=np.uint8)
archive = as_archive((images, np.arange(300) % 3))
manifest = make_manifest(read_search("tiny", settings=[f"proxy.data={archive}"]).proxy, seed=0)
print(len(manifest.train), "images")
"""


def ran(program: str, folder: Path) -> str:
    script = folder / "script.py"
    script.write_text(f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{program}")
    done = subprocess.run([sys.executable, str(script)], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    return done.stdout


def test_the_package_is_imported_in_a_tenth_of_a_second(tmp_path):
    timed = "import time, sys; before = set(sys.modules); t = time.perf_counter(); import nas; print(time.perf_counter() - t)"
    assert min(float(ran(timed, tmp_path)) for _ in range(3)) < 0.1


@pytest.mark.thorough
def test_what_the_package_shows_is_there_whatever_else_was_imported(tmp_path):
    program = (
        "import nas\nassert callable(nas.search)\nimport nas.search.study\nassert callable(nas.search) and nas.Run.__doc__"
    )
    ran(f"{program}\ntry:\n    nas.serch\nexcept AttributeError as error:\n    print(error)", tmp_path)


@pytest.mark.thorough
def test_a_script_without_a_guard_decodes_on_all_cores_and_runs_once(tmp_path):
    out = ran(DECODES, tmp_path)
    assert out.splitlines() == [line for line in out.splitlines() if line.endswith(" images")] and len(out.splitlines()) == 1


@pytest.mark.slow
def test_the_readmes_example_is_ten_lines_that_run_in_two_minutes(tmp_path):
    (example,) = re.findall(r"```python\n(import nas\n.*?)```", README, flags=re.DOTALL)
    assert len(example.strip().splitlines()) <= 10
    began = time.monotonic()
    ran(example, tmp_path)
    print(f"{time.monotonic() - began:.0f} s")
    assert (tmp_path / "exported" / "longer" / "config.json").is_file()


@pytest.mark.slow
def test_the_api_pages_are_written_by_the_command_in_contributing(tmp_path):
    (command,) = re.findall(r"^(pdoc .*?) +#", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    words = [word.strip("'") for word in command.replace("build/api", str(tmp_path / "api")).split()]
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    front = (tmp_path / "api" / "nas.html").read_text(encoding="utf-8")
    assert "Your own mixer" in front  # from README.md
    page = (tmp_path / "api" / "nas" / "interface" / "run.html").read_text(encoding="utf-8")
    assert all(f"SearchRun.{name}" in page for name in ("front", "trials", "report", "model", "export", "retrain"))
