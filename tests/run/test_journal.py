"""The journal file: whole lines only, and a lock that dies with its holder."""

import os
import signal
import subprocess
import sys
import time

import optuna
import pytest
from optuna.storages import JournalStorage

from nas.run.journal import WholeLines


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "run.journal")


def study(path: str) -> optuna.Study:
    return optuna.create_study(storage=JournalStorage(WholeLines(path)), study_name="s", load_if_exists=True)


def test_a_line_that_a_kill_cut_short_is_taken_back_and_the_rest_stays(path):
    study(path).enqueue_trial({"x": 1})
    with open(path, "a") as file:
        file.write('{"op_code": 4, "worker_i')
    again = study(path)
    again.enqueue_trial({"x": 2})
    assert [t.system_attrs["fixed_params"] for t in study(path).trials] == [{"x": 1}, {"x": 2}]


def test_a_killed_holder_of_the_lock_holds_nobody_up(path):
    study(path)
    code = f"from nas.run.journal import KernelLock; KernelLock({path!r}).acquire(); print('held', flush=True); input()"
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    began = time.monotonic()
    study(path).enqueue_trial({"x": 1})
    assert time.monotonic() - began < 5
