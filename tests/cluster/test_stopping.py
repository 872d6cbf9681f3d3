"""Ctrl-C once, between two writes; twice, at once."""

import os
import signal
import subprocess
import sys

import pytest

from nas.cluster.stopping import Stopping


def test_a_signal_ends_the_block_and_leaves_the_handlers_as_they_were():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), Stopping():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_waits_until_what_is_held_is_through():
    done = []
    with pytest.raises(KeyboardInterrupt), Stopping() as stopping, stopping.held():
        os.kill(os.getpid(), signal.SIGINT)
        done.append("written")
    assert done == ["written"]


def test_the_second_signal_ends_the_process_at_once():
    code = (
        "import os, signal\nfrom nas.cluster.stopping import Stopping\n"
        "with Stopping() as stopping, stopping.held():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n    os.kill(os.getpid(), signal.SIGINT)\n    print('still here')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (130, "")
    assert "Stopped at once" in ended.stderr
