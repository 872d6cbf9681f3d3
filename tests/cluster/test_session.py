"""Ray as the search starts it: closed to the network, quiet, refused where it has no room; and a cluster as it is joined."""

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from nas.cluster.authentication import MODE, TOKEN, TOKEN_PATH, WITH_TOKEN, WITHOUT
from nas.cluster.room import WorkerShare
from nas.cluster.session import MOST_PER_CORE, check_address, check_machines, num_workers, ray, started_ray
from nas.errors import ConfigError, NasError
from nas.run.settings.sections import Resources

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


@pytest.mark.parametrize(
    ("asked", "grown", "room"),
    [({}, {}, None), ({"workers": 3}, {}, None), ({"workers": 9}, {}, 4), ({"workers": 9}, {"CPU": 8.0}, 8)],
)
def test_more_at_once_than_there_is_room_for_is_said(monkeypatch, asked, grown, room):
    monkeypatch.setattr(ray, "nodes", lambda: 2 * [{"Alive": True, "Resources": {"CPU": 2.0}}])
    monkeypatch.setattr("nas.cluster.session.most_by_autoscaler", lambda: grown)
    said = []
    assert num_workers(Resources(**asked), say=said.append) == asked.get("workers", 4)
    assert said == (
        [] if room is None else [f"mind: --workers 9, but the cluster has room for {room} at once; the others wait for it"]
    )


@pytest.mark.parametrize(("gpu", "limits"), [(0, []), (0.25, [0.225]), (1, [])])
def test_on_a_card_that_others_use_a_training_keeps_to_its_part_of_the_memory(monkeypatch, gpu, limits):
    kept = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", kept.append)
    WorkerShare(cpu=torch.get_num_threads(), gpu=gpu).keep()
    assert kept == limits


@pytest.fixture
def home(monkeypatch, tmp_path):
    """A home without a token, and no word of the user's on tokens."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    for variable in (MODE, TOKEN, TOKEN_PATH, "RAY_ADDRESS"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path / "home"


def answer() -> str | None:
    """A worker's answer, which is the mode that it runs in."""
    return ray.get(ray.remote(lambda: os.environ.get(MODE)).remote(), timeout=60)


@pytest.mark.slow
@pytest.mark.parametrize("mode", [None, WITH_TOKEN, WITHOUT])
def test_a_ray_of_our_own_leaves_no_token_behind_and_no_folder(home, monkeypatch, mode):
    if mode:
        monkeypatch.setenv(MODE, mode)
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as place:
        monkeypatch.setenv("RAY_TMPDIR", place)
        with started_ray(Resources(workers=1)):
            assert answer() == (mode or WITH_TOKEN)
            (folder,) = Path(place).iterdir()
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert (os.listdir(place), os.listdir(home)) == ([], [])
    assert (os.environ.get(MODE), os.environ.get(TOKEN)) == (mode, None)


@pytest.fixture(scope="module", params=[None, "5" * 32], ids=["without a token", "with a token"])
def cluster(request, tmp_path_factory):
    """Address and token of a cluster that `ray start` made."""
    home = tmp_path_factory.mktemp("head")
    port = free_port()
    own = {MODE: WITH_TOKEN, TOKEN: request.param} if request.param else {MODE: WITHOUT}
    flags = ["--include-dashboard=false", "--disable-usage-stats", "--block", f"--ray-client-server-port={free_port()}"]
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as folder:
        command = [Path(sys.executable).with_name("ray"), "start", "--head", f"--port={port}", "--num-cpus=1"]
        head = subprocess.Popen(
            [*command, f"--temp-dir={folder}", *flags],
            env={**os.environ, "HOME": str(home), **own},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            wait_until_answered(port)
            yield f"127.0.0.1:{port}", request.param
        finally:
            os.killpg(head.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                head.wait(8)
            with suppress(ProcessLookupError):
                os.killpg(head.pid, signal.SIGKILL)
            head.wait(8)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_answered(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            time.sleep(5)  # the node registers after its head answers
            return
        time.sleep(0.2)
    pytest.fail("the cluster did not start")


@pytest.mark.slow
@pytest.mark.parametrize("mode", [None, WITH_TOKEN])
@pytest.mark.parametrize("source", ["variable", "path", "file"])
def test_a_cluster_is_joined_with_or_without_its_token(home, monkeypatch, cluster, mode, source):
    address, token = cluster
    token = token or "stale"
    if mode:
        monkeypatch.setenv(MODE, mode)
    if source == "variable":
        monkeypatch.setenv(TOKEN, token)
    else:
        file = home / ("elsewhere" if source == "path" else ".ray/auth_token")
        file.parent.mkdir(exist_ok=True)
        file.write_text(token)
        if source == "path":
            monkeypatch.setenv(TOKEN_PATH, str(file))
    check_address(address)
    with started_ray(Resources(address=address)):
        answer()


@pytest.mark.slow
def test_a_cluster_that_asks_for_another_token_says_so_in_seconds(home, monkeypatch, cluster):
    address, token = cluster
    if token is None:
        pytest.skip("asks for none")
    began = time.monotonic()
    with pytest.raises(NasError, match=f"{address}: the cluster asks for its token, but there is none in RAY_AUTH_TOKEN"):
        check_address(address)
    monkeypatch.setenv(TOKEN, "another")
    with pytest.raises(NasError, match="the cluster refuses the token in RAY_AUTH_TOKEN"):
        check_address(address)
    monkeypatch.setenv(MODE, WITHOUT)
    with pytest.raises(NasError, match="the cluster asks for its token, but RAY_AUTH_MODE is disabled"):
        check_address(address)
    assert time.monotonic() - began < 15


@pytest.mark.slow
def test_auto_is_the_cluster_that_a_job_runs_in(home, monkeypatch, cluster):
    address, token = cluster
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON", '{"runtime_env": {"env_vars": {"NAS_CACHE": "/of/the/job"}}}')
    if token:
        monkeypatch.setenv(MODE, WITH_TOKEN)
        monkeypatch.setenv(TOKEN, token)
    with started_ray(Resources(address="auto")):
        answer()


def test_more_workers_than_a_machine_can_feed_are_refused_at_once(monkeypatch):
    monkeypatch.setattr("nas.cluster.session.num_cores", lambda: 2)
    check_machines(None, workers=2 * MOST_PER_CORE)
    check_machines(None, workers=None)
    check_machines(None, workers=4 * MOST_PER_CORE, cpu=0.5)
    with pytest.raises(ConfigError, match=r"must be at most 32 on this machine, .* but got 5000 at once"):
        check_machines(None, workers=5000)
    check_machines(None, workers=1, cpu=1000)  # which Ray itself refuses for what it is
