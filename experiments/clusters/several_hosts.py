"""Three hosts on one Linux machine, as network namespaces, on which hosts.sh runs a search that is shot at in several ways.

    sudo .venv/bin/python experiments/clusters/several_hosts.py               # all cases
    sudo .venv/bin/python experiments/clusters/several_hosts.py node link     # some of them

Each host has its own address, name, processes, home, cache and temporary folder; they share the folder of the runs, as a
cluster does. `ssh` is a script that enters one of them, so that hosts.sh runs as it is. Needs root, `ip`, `unshare` and
`nsenter`. README.md here has the cases and what came out.
"""

import argparse
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import yaml

ROOT, HOSTS_SH = Path(__file__).parents[2], Path(__file__).with_name("hosts.sh")
HOSTS = ("gpu1", "gpu2", "gpu3")
HEAD = HOSTS[0]
BRIDGE, NETWORK = "nas0", "10.77.0"
SPACE = """
name: {name}
extends: tiny
search: {{trials: 6}}
resources: {{cpu: 1, workers: 3}}
calibration: {{random: 4, seeds: 1, fidelities: {{half: {{epochs: 2, rungs: []}}, whole: {{rungs: []}}}}}}
"""
AUTOSCALING = {
    "cluster_name": "grows",
    "max_workers": 2,
    "upscaling_speed": 1.0,
    "idle_timeout_minutes": 0.5,
    "provider": {"type": "fake_multinode", "disable_node_updaters": True, "disable_launch_config_check": True},
    "available_node_types": {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "small": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2},
    },
    "head_node_type": "ray.head.default",
    "auth": {},
    "docker": {},
    "file_mounts": {},
    "cluster_synced_files": [],
    "file_mounts_sync_continuously": False,
    "rsync_exclude": [],
    "rsync_filter": [],
    **{f"{part}_commands": [] for part in ("initialization", "setup", "head_setup", "worker_setup")},
    **{f"{part}_start_ray_commands": [] for part in ("head", "worker")},
}
ARCHITECTURE = '{"stages": [{"mixer": "conv", "depth": 1, "width": 16}, {"mixer": "attention", "depth": 1, "width": 32}]}'
CORES = len(os.sched_getaffinity(0))  # of each host, which sees the whole machine
CACHE = "/tmp/nas-cache"  # as hosts.sh has it, on each host its own
PATIENCE = 900.0  # seconds for one command
CUT_SECONDS = 60
WORDS_SECONDS = 20  # after which a driver whose head died must have said so and ended
SSH = """#!/bin/bash
# Enters a simulated host as ssh would.
host=$1; shift; folder={scratch}/$host
pid=$(cat "$folder/pid") && kill -0 "$pid" 2>/dev/null || {{ echo "ssh: connect to host $host: no route" >&2; exit 255; }}
exec nsenter --target "$pid" --net --mount --uts --ipc --pid \\
    env HOME="$folder/home" bash -c "$*"
"""


class Host:
    """A host: namespaces that a process holds open, with which everything in them ends."""

    def __init__(self, number: int, name: str, scratch: Path):
        self.name, self.folder, self.namespace, self.link = name, scratch / name, f"nas-{name}", f"nas-{number}"
        for inner in ("home", "tmp"):
            (self.folder / inner).mkdir(parents=True)
        names = "".join(f"{NETWORK}.{i} {each}\n" for i, each in enumerate(HOSTS, start=1))
        (self.folder / "hosts").write_text(f"127.0.0.1 localhost\n{names}")
        call("ip", "netns", "add", self.namespace)
        call("ip", "link", "add", self.link, "type", "veth", "peer", "name", "eth0", "netns", self.namespace)
        call("ip", "link", "set", self.link, "master", BRIDGE, "up")
        for words in (f"addr add {NETWORK}.{number}/24 dev eth0", "link set eth0 up", "link set lo up"):
            call("ip", "netns", "exec", self.namespace, "ip", *words.split())
        self.holder = self._held()
        children = Path(f"/proc/{self.holder.pid}/task/{self.holder.pid}/children").read_text().split()
        (self.folder / "pid").write_text(children[0])

    def _held(self) -> subprocess.Popen:
        first = (
            f"mount --bind {self.folder}/hosts /etc/hosts; mount --bind {self.folder}/tmp /tmp; "
            f"mount -t tmpfs -o size=2g tmpfs /dev/shm; hostname {self.name}; echo ready; exec sleep infinity"
        )
        unshare = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--mount-proc", "--kill-child"]
        held = subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, *unshare, "bash", "-ec", first], stdout=subprocess.PIPE, text=True
        )
        assert held.stdout is not None
        if held.stdout.readline() != "ready\n":
            raise SystemExit(f"{self.name} did not start: this machine does not allow such namespaces")
        return held

    def set_link(self, state: str) -> None:
        """Its cable: up or down."""
        call("ip", "link", "set", self.link, state)

    def shoot(self) -> None:
        """It loses its power."""
        self.holder.send_signal(signal.SIGKILL)
        self.holder.wait()

    def close(self) -> None:
        """Nothing of it is left."""
        if self.holder.poll() is None:
            self.shoot()
        call("ip", "netns", "del", self.namespace)


def call(*command: str) -> None:
    """A command that must succeed."""
    subprocess.run(command, check=True)


class Cluster(NamedTuple):
    """The hosts and what they share."""

    hosts: dict[str, Host]
    shared: Path
    tools: Path
    """Where `ssh` lies."""

    def hosts_sh(self, name: str, *settings: str, verb: str = "") -> subprocess.Popen:
        """hosts.sh with a search of that name, or another verb, as a user starts it."""
        space = self.shared / f"{name}.yaml"
        space.write_text(SPACE.format(name=name))
        names = {"HOSTS": " ".join(HOSTS), "SHARED": str(self.shared), "SPACE": str(space), "DATA": "digits"}
        if verb:
            names["COMMAND"] = f"-m nas {verb}"
        return self._started(["bash", str(HOSTS_SH), *settings], names, log=name)

    def driver(self, name: str) -> str:
        """The command of a search on the cluster that hosts.sh has started."""
        space = self.shared / f"{name}.yaml"
        space.write_text(SPACE.format(name=name))
        own = f"RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH={self.shared}/.ray_token NAS_CACHE={CACHE}"
        return (
            f"cd {self.shared}/metaformer-nas && {own} {self.shared}/venv/bin/python run_search.py {space} --data digits --out "
            f"{self.shared}/runs/{name} --storage journal://{self.shared}/runs/{name}.journal --address {NETWORK}.1:6379"
        )

    def raise_again(self, name: str) -> None:
        """A host that was shot, as new."""
        self.hosts[name].close()
        scratch = self.hosts[name].folder.parent
        shutil.rmtree(scratch / name)
        self.hosts[name] = Host(HOSTS.index(name) + 1, name, scratch)

    def ssh(self, host: str, command: str, *, log: str) -> subprocess.Popen:
        """A command on one host."""
        return self._started(["ssh", host, command], {}, log=log)

    def _started(self, command: list[str], variables: dict[str, str], *, log: str) -> subprocess.Popen:
        path = f"{self.tools}:{os.environ['PATH']}"
        with (self.shared / f"{log}.log").open("a") as file:
            return subprocess.Popen(
                command, env={**os.environ, **variables, "PATH": path}, stdout=file, stderr=subprocess.STDOUT
            )

    def words(self, name: str) -> str:
        """What a command has written."""
        return (self.shared / f"{name}.log").read_text()

    def trials(self, name: str) -> pd.DataFrame:
        """The record of a search that has ended."""
        return pd.read_csv(self.shared / "runs" / name / "trials.csv")

    def wait_for(self, process: subprocess.Popen, name: str, words: str) -> None:
        """Until a command has written these words; it fails where the command ends without."""
        until = time.monotonic() + PATIENCE
        while words not in self.words(name):
            if process.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"{name} never said {words!r}")
            time.sleep(0.2)


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    """Hosts that are up, and down again at the end."""
    scratch = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="several-hosts-"))
    shared, tools = scratch / "shared", scratch / "tools"
    shared.mkdir()
    tools.mkdir()
    (shared / "venv").symlink_to(sys.prefix)
    (shared / "metaformer-nas").symlink_to(ROOT)
    (tools / "ssh").write_text(SSH.format(scratch=scratch))
    (tools / "ssh").chmod(0o755)
    call("ip", "link", "add", BRIDGE, "type", "bridge")
    call("ip", "link", "set", BRIDGE, "up")
    hosts: dict[str, Host] = {}
    try:
        for number, name in enumerate(HOSTS, start=1):
            hosts[name] = Host(number, name, scratch)
        yield Cluster(hosts, shared, tools)
    finally:
        for host in hosts.values():
            host.close()
        call("ip", "link", "del", BRIDGE)
        shutil.rmtree(scratch, ignore_errors=True)


def check(condition: bool, rule: str) -> None:
    """One rule that must hold, said either way."""
    print(f"  {'ok    ' if condition else 'BROKEN'} {rule}", flush=True)
    if not condition:
        raise AssertionError(rule)


def check_whole(it: Cluster, name: str, *, trials: int = 6) -> pd.DataFrame:
    """A record in which every trial ended once, and none was lost to a machine for good."""
    record = it.trials(name)
    check(list(record["trial"]) == list(range(len(record))) and len(record) >= trials, f"{len(record)} trials, each once")
    check(set(record["state"]) <= {"complete", "stopped", "answered"}, "each of them was trained, stopped or answered")
    return record


def ended(process: subprocess.Popen) -> int:
    """The exit code of a command that must end."""
    return process.wait(timeout=PATIENCE)


def plain(it: Cluster) -> None:
    """hosts.sh as it is."""
    check(ended(it.hosts_sh("plain")) == 0, "hosts.sh ended in order")
    record = check_whole(it, "plain")
    check(record["attempts"].str.contains("gpu[23]").any(), "other hosts than the first trained")


def node(it: Cluster) -> None:
    """A host loses its power while trials run on it."""
    search = it.hosts_sh("node")
    it.wait_for(search, "node", "trained in full")
    it.hosts["gpu3"].shoot()
    check(ended(search) == 0, "the search ended in order without the host")
    check_whole(it, "node")


def link(it: Cluster) -> None:
    """A host's cable is out for a minute."""
    search = it.hosts_sh("link")
    it.wait_for(search, "link", "trained in full")
    it.hosts["gpu2"].set_link("down")
    time.sleep(CUT_SECONDS)
    it.hosts["gpu2"].set_link("up")
    check(ended(search) == 0, "the search ended in order")
    check_whole(it, "link")


def cache(it: Cluster) -> None:
    """One host can't write its cache: its trials are tried on others, and it is named."""
    call("bash", "-c", f"PATH={it.tools}:$PATH ssh gpu2 'mkdir {CACHE} && mount -t tmpfs -o ro tmpfs {CACHE}'")
    check(ended(it.hosts_sh("cache")) == 0, "the search ended in order without the host")
    check_whole(it, "cache")
    check("gpu2" in it.words("cache"), "the host is named")


def disk(it: Cluster) -> None:
    """The disk of one host's cache is full: as when it can't be written."""
    call("bash", "-c", f"PATH={it.tools}:$PATH ssh gpu2 'mkdir {CACHE} && mount -t tmpfs -o size=64k tmpfs {CACHE}'")
    check(ended(it.hosts_sh("disk")) == 0, "the search ended in order without the host")
    check_whole(it, "disk")
    check("gpu2" in it.words("disk"), "the host is named")


def flaky(it: Cluster) -> None:
    """On one host every trial dies: each is tried on others, and the host is left out."""
    killer = it.ssh("gpu2", "while sleep 0.1; do pkill -KILL -f 'ray::[I]mplicitFunc'; done", log="killer")
    whole_hosts = f"resources.cpu={CORES}"  # a trial each: none goes where there is room beside another
    check(ended(it.hosts_sh("flaky", "--set", whole_hosts)) == 0, "the search ended in order")
    killer.kill()
    check_whole(it, "flaky")
    check("mind: gpu2 is left out: 3 trials in a row were lost there" in it.words("flaky"), "the host is named")


def others(it: Cluster) -> None:
    """A calibration, replicates and a front's retrainings, as a search's next steps."""
    check(ended(it.hosts_sh("others")) == 0, "the search ended in order")
    run, space = it.shared / "runs" / "others", it.shared / "others.yaml"
    for name, verb in (
        ("calibrate", f"calibrate {space} --data digits --out {it.shared}/runs/calibrated --yes"),
        ("replicate", f"replicate {run} --replicates 1 --most 2"),
        ("front", f"retrain {run} --front --recipe digits_quick --set epochs=2 --out {it.shared}/front --parallel 3"),
    ):
        check(ended(it.hosts_sh(name, verb=verb)) == 0, f"{name} ended in order")
        print("   ", it.words(name).strip().splitlines()[-1])


def retrain(it: Cluster) -> None:
    """A host loses its power under a full training on all three, which goes on with fewer workers on two."""
    options = f"--workers {3 * CORES} --min-workers {2 * CORES} --set epochs=12 --out {it.shared}/retrained"
    network = it.shared / "network.json"
    network.write_text(ARCHITECTURE)
    training = it.hosts_sh("retrain", verb=f"retrain {network} --recipe digits_quick {options}")
    it.wait_for(training, "retrain", "epoch 2/")
    it.hosts["gpu3"].shoot()
    shot = time.monotonic()
    it.wait_for(training, "retrain", "gpu3 is gone")
    check(time.monotonic() - shot <= WORDS_SECONDS, f"said {time.monotonic() - shot:.0f} s after the host")
    it.wait_for(training, "retrain", f"going on with {2 * CORES} of {3 * CORES} workers")
    check(ended(training) == 0, "the training ended in order")
    check(f"training on {2 * CORES} processes" in it.words("retrain"), "those on two hosts ended it")


def head(it: Cluster) -> None:
    """The host with Ray's head dies under a search that another host drives."""
    first = it.hosts_sh("first", "--trials", "200")  # keeps the cluster up
    it.wait_for(first, "first", "trained in full")
    second = it.ssh("gpu2", it.driver("head"), log="head")
    it.wait_for(second, "head", "data: digits")
    time.sleep(5)
    it.hosts[HEAD].shoot()
    died = time.monotonic()
    code = ended(second)
    seconds = time.monotonic() - died
    first.kill()
    print("   ", it.words("head").strip().splitlines()[-1])
    check(code == 1, f"the driver ended with 1, got {code}")
    check(seconds <= WORDS_SECONDS, f"{seconds:.0f} s after the head")
    check("head" in it.words("head").splitlines()[-1], "it says what died")


def again(it: Cluster) -> None:
    """The same with --wait-for-cluster: the head comes back with a new cluster, and the search goes on by itself."""
    first = it.hosts_sh("first", "--trials", "200")
    it.wait_for(first, "first", "trained in full")
    second = it.ssh("gpu2", f"{it.driver('again')} --wait-for-cluster 10m", log="again")
    it.wait_for(second, "again", "paused at a rung")
    it.hosts[HEAD].shoot()
    it.wait_for(second, "again", "waiting up to 10 min")
    first.kill()
    it.raise_again(HEAD)
    third = it.hosts_sh("third", "--trials", "200")
    it.wait_for(second, "again", "is back: going on")
    check(ended(second) == 0, "the search ended in order")
    third.kill()
    check_whole(it, "again")


def autoscaler(it: Cluster) -> None:
    """A head without cores, to which an autoscaler adds up to two nodes: a full training waits for them, a search follows.

    Ray's own provider of nodes for tests starts them on the same host.
    """
    plan, network = it.shared / "autoscaling.yaml", it.shared / "network.json"
    plan.write_text(yaml.safe_dump(AUTOSCALING))
    network.write_text(ARCHITECTURE)
    (it.shared / "runs").mkdir()
    (it.shared / ".ray_token").write_text(secrets.token_hex(32))
    own = f"RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH={it.shared}/.ray_token"
    start = f"{it.shared}/venv/bin/ray start --head --port=6379 --num-cpus=0 --include-dashboard=false --disable-usage-stats"
    raised = f"{own} RAY_FAKE_CLUSTER=1 AUTOSCALER_UPDATE_INTERVAL_S=1 {start} --autoscaling-config={plan}"
    check(ended(it.ssh(HEAD, raised, log="ray")) == 0, "a head without cores has started")
    training = f"-m nas retrain {network} --recipe digits_quick --set epochs=2 --out {it.shared}/retrained"
    command = f"{own} {it.shared}/venv/bin/python {training} --workers 2 --device cpu --address {NETWORK}.1:6379"
    check(ended(it.ssh(HEAD, command, log="retrain")) == 0, "the training ended in order")
    check("training on 2 processes" in it.words("retrain"), "both workers trained")
    check("waiting up to" in it.words("retrain"), "it said what it waited for")
    search = f"{it.driver('grown')} --workers 2"
    check(ended(it.ssh(HEAD, search, log="grown")) == 0, "the search ended in order")
    check_whole(it, "grown")


ALL = (plain, node, link, cache, disk, flaky, others, retrain, head, again, autoscaler)
CASES: dict[str, Callable[[Cluster], None]] = {case.__name__: case for case in ALL}


def carried_out(cases: dict[str, Callable[[Cluster], None]], *, on: Callable[[], AbstractContextManager[Cluster]]) -> str | int:
    """Each case on hosts of its own; 0, or which of them are broken."""
    broken = []
    for name, case in cases.items():
        print(f"{name}: {case.__doc__}", flush=True)
        with on() as it:
            began = time.monotonic()
            try:
                case(it)
            except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
                broken.append(name)
                print(f"  BROKEN {error}")
                for log in it.shared.glob("*.log"):
                    print(f"--- {log.name}\n{log.read_text()[-3000:]}")
            print(f"  {time.monotonic() - began:.0f} s", flush=True)
    return f"broken: {', '.join(broken)}" if broken else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], default=list(CASES), help=", ".join(CASES))
    asked = parser.parse_args()
    if os.geteuid() or not all(map(shutil.which, ("ip", "unshare", "nsenter"))):
        raise SystemExit("several_hosts.py needs root, ip, unshare and nsenter: nothing was tried")
    raise SystemExit(carried_out({name: CASES[name] for name in asked.cases}, on=cluster))


if __name__ == "__main__":
    main()
