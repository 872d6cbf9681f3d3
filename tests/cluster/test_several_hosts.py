"""A search on three hosts that hosts.sh starts; experiments/clusters/several_hosts.py shoots at it in more ways."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "experiments" / "clusters" / "several_hosts.py"


def _lacks() -> str:
    """Why hosts can't be simulated here; empty where they can."""
    if os.geteuid():
        return "hosts as network namespaces need root"
    if gone := [tool for tool in ("ip", "unshare", "nsenter") if shutil.which(tool) is None]:
        return f"hosts as network namespaces need {gone[0]}"
    made = subprocess.run(["ip", "netns", "add", "nas-probe"], capture_output=True, check=False).returncode
    subprocess.run(["ip", "netns", "del", "nas-probe"], capture_output=True, check=False)
    return "this machine allows no network namespaces" if made else ""


@pytest.mark.slow
def test_three_hosts_search_and_one_that_cannot_write_its_cache_is_left_out():
    if lack := _lacks():
        pytest.skip(lack)
    done = subprocess.run([sys.executable, str(SCRIPT), "cache"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
