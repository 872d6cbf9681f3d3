"""Every command that is printed can be pasted: it runs as it is printed and does what was said of it."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.images import class_folders

ROOT = Path(__file__).parents[2]
MICRO = """
name: micro
space:
  image_size: 32
  num_classes: 3
  stem_kernel: 7
  stem_stride: 4
  all_stages: {depth: 1, mlp_ratio: 2}
  stages:
    1: {mixer: [pool, identity], width: [8, 16]}
    2: {mixer: [attention, pool], width: [16, 32], head_dim: 16}
search: {trials: 2, sampler: random}
proxy: {image_size: 32, epochs: 1, warmup_epochs: 0, batch_size: 16}
calibration: {random: 2, seeds: 1, fidelities: {proxy: {}, long: {epochs: 2}}}
resources: {workers: 1}
"""
PRINTED = re.compile(
    r"(?:^|[:`;(] ?)((?:\S*python\S* (?:-m )?\S*nas\S*|nas|\S*python\S* \S*run_search\.py|mv) [^`\n]*)", re.MULTILINE
)

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path):
    """A working folder whose names hold spaces, brackets, quotes and a dollar, with a space to search and images."""
    here = tmp_path / "my [raw] $HOME's work"
    here.mkdir()
    (here / "micro [1].yaml").write_text(MICRO)
    class_folders(here / "birds [raw]", images=12)
    return here


@pytest.fixture
def shell(folder):
    """Runs a line in a shell as a user would paste it; what was printed."""
    place = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}

    def run(line, *, code=0):
        done = subprocess.run(line, shell=True, cwd=folder, env=place, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == code, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    run.environment = place
    return run


def printed(text):
    """The commands in a text, without the stop that ends a sentence."""
    return [match.rstrip().removesuffix(".").removesuffix(")") for match in PRINTED.findall(text)]


SEARCH = "nas search 'micro [1].yaml' --data 'birds [raw]' --out 'run [old]' --set 'objectives=[accuracy, params]'"


def test_what_a_search_its_front_and_its_report_print_runs(shell, folder):
    text = shell(SEARCH)
    commands = printed(text)
    assert any(c.startswith("nas search") for c in commands)  # a single epoch taught the networks nothing
    assert any(c.startswith("nas calibrate") for c in commands)
    for command in commands:
        shell(command)
    learnt = SEARCH.replace("'run [old]'", "learnt --set proxy.epochs=3").replace("'birds [raw]'", "digits")
    (taken,) = [c for c in printed(shell(learnt)) if c.startswith("nas export")]
    shell(taken)
    assert (folder / "exported").is_dir()
    again = printed(shell("nas front 'run [old]'"))
    assert not any("never calibrated" in line for line in again)
    shell("nas report 'run [old]'")
    missing = shell("nas retrain 'run [old]' --trial 99 --recipe digits_quick --out x", code=2)
    (command,) = printed(missing)
    assert "run [old]" in shell(command)


def test_the_command_of_a_stopped_search_continues_it(shell, folder):
    line = SEARCH.replace("--out", "--trials 4 --set proxy.epochs=3 --out")
    log = folder / "log"
    with log.open("w") as file:
        started = subprocess.Popen(shlex.split(line), cwd=folder, env=shell.environment, stdout=file, stderr=file)
        while "data:" not in log.read_text() and started.poll() is None:
            time.sleep(0.1)
        time.sleep(1)
        started.send_signal(signal.SIGINT)
        assert started.wait(60) == 130
    (command,) = printed(log.read_text())
    assert shlex.split(command)[1:] == shlex.split(line)[1:]
    assert "4 trained in full" in shell(command)


def test_what_a_retraining_and_a_run_without_weights_print_runs(shell, folder):
    shell(SEARCH)
    for path in (folder / "run [old]" / "weights").iterdir():
        path.unlink()
    (command,) = printed(shell("nas export 'run [old]' --trial 0 --out e", code=2))
    (following,) = printed(shell(command))
    shell(following)
    assert (folder / "exported" / "0" / "config.json").is_file()


def test_a_record_that_was_removed_is_put_back_by_the_command_that_is_printed(shell, folder):
    log = folder / "log"
    with log.open("w") as file:
        line = SEARCH.replace("--out", "--trials 4 --set proxy.epochs=4 --out")
        started = subprocess.Popen(shlex.split(line), cwd=folder, env=shell.environment, stdout=file, stderr=file)
        while "trained in full" not in log.read_text() and started.poll() is None:
            time.sleep(0.1)
        (folder / "run [old]" / "study.db").unlink()
        assert started.wait(90) == 2
    assert "was removed while this process wrote it" in log.read_text()
    shell(next(command for command in printed(log.read_text()) if command.startswith("mv ")))
    assert "continuing: " in shell(line)
