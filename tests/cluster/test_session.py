"""Ray as the search starts it: closed to the network, quiet, and refused where it has no room."""

from contextlib import suppress
from pathlib import Path

import pytest
import torch

from nas.cluster.jobs import WorkerShare
from nas.cluster.session import check_address, num_workers, ray, started_ray
from nas.errors import NasError
from nas.run.settings import Resources

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
        with pytest.raises(NasError, match="a trial asks for 1 CPU and 2 GPU, but no node of Ray's has both: 1 CPU and 0 GPU"):
            num_workers(Resources(workers=None, gpu=2))


@pytest.mark.parametrize(
    ("asked", "nodes", "room"),
    [
        ({"cpu": 4}, 4 * [{"CPU": 2.0}], None),
        ({"cpu": 2}, 4 * [{"CPU": 3.0}], 4),
        ({"gpu": 2}, 2 * [{"CPU": 8.0, "GPU": 1.0}], None),
        ({"gpu": 0.6}, [{"CPU": 8.0, "GPU": 2.0}], 2),
        ({"gpu": 0.1, "cpu": 0.1}, [{"CPU": 1.0, "GPU": 1.0}, {"memory": 1.0}], 10),
        ({"gpu": 0.25}, [{"CPU": 16.0, "GPU": 4.0}, {"CPU": 2.0, "GPU": 1.0}], 18),
    ],
)
def test_a_trial_lies_on_one_node_and_its_part_of_a_card_on_one_card(monkeypatch, asked, nodes, room):
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": node} for node in nodes])
    if room is None:
        with pytest.raises(NasError, match="but no node of Ray's has both"):
            num_workers(Resources(**asked))
    else:
        assert num_workers(Resources(**asked)) == room


@pytest.mark.parametrize(("gpu", "limits"), [(0, []), (0.25, [0.225]), (1, [])])
def test_on_a_card_that_others_use_a_training_keeps_to_its_part_of_the_memory(monkeypatch, gpu, limits):
    kept = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", kept.append)
    WorkerShare(cpu=torch.get_num_threads(), gpu=gpu).keep()
    assert kept == limits


@pytest.mark.parametrize("address", ["a..b:1234", "127.0.0.1:99999"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(NasError, match="nobody answers there"):
        check_address(address)


def test_an_address_where_nobody_answers_is_said_in_seconds():
    with pytest.raises(NasError, match=r"resources\.address 127\.0\.0\.1:1: nobody answers there"):
        check_address("127.0.0.1:1")
