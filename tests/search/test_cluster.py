"""Ray as the search starts it: closed to the network, quiet, and refused where it has no room."""

from contextlib import suppress
from pathlib import Path

import pytest

from nas.errors import NasError
from nas.search.cluster import check_address, num_workers, ray, started_ray
from nas.search.settings import Resources

LISTENS, MARK = "0A", "STARTED_BY_THIS_TEST"


def listening_to_the_network() -> set[str]:
    """Processes with the mark in their environment that accept connections from other machines; Linux only."""
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    inside = ("0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F")  # 127.0.0.1, ::1
    sockets = {f"socket:[{row[9]}]" for row in rows if row[3] == LISTENS and row[1].partition(":")[0] not in inside}
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            ours = MARK in (folder / "environ").read_text()
            if ours and any(str(file.readlink()) in sockets for file in (folder / "fd").iterdir()):
                found.add((folder / "cmdline").read_text().strip("\0"))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="looks into Linux's /proc")
def test_ray_is_closed_to_the_network_and_says_what_it_lacks(monkeypatch):
    monkeypatch.setenv(MARK, "1")
    with started_ray(Resources(workers=1)):
        ray.get(ray.remote(lambda: 3).remote())
        assert listening_to_the_network() == set()
        with pytest.raises(NasError, match="a trial asks for 1 CPU and 2 GPU, but Ray has 1 CPU and 0 GPU"):
            num_workers(Resources(workers=None, gpu=2))


def test_an_address_where_nobody_answers_is_said_in_seconds():
    with pytest.raises(NasError, match=r"resources\.address 127\.0\.0\.1:1: nobody answers there"):
        check_address("127.0.0.1:1")
