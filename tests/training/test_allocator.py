"""Freed memory is kept."""

import platform
import subprocess
import sys

import pytest

FRESH = """
import resource, sys
import numpy as np
from nas.training.allocator import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(40 * 2**20, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    """Pages that the second of two equal arrays of 40 MiB, the first of them freed, had to ask the system for."""
    environment = {"PYTHONPATH": ":".join(sys.path), "NUMPY_MADVISE_HUGEPAGE": "0"}
    command = [sys.executable, "-c", FRESH, how]
    return int(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")
def test_a_tensor_takes_the_place_of_a_freed_one_without_asking_the_system():
    assert faults("kept") < 100 < faults("given back")
