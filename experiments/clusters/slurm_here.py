"""A Slurm of three nodes on one Linux machine (the hosts of several_hosts.py), on which slurm.sbatch runs as it is.

sudo apt-get install slurmctld slurmd slurm-client munge
sudo .venv/bin/python experiments/clusters/slurm_here.py                  # all cases
sudo .venv/bin/python experiments/clusters/slurm_here.py plain limit      # some of them
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import several_hosts
from several_hosts import CACHE, HEAD, HOSTS, ROOT, SPACE, Cluster, check, check_whole, cluster

from nas.space.architecture import Architecture, Stage

SBATCH, RETRAIN = (Path(__file__).with_name(name) for name in ("slurm.sbatch", "retrain.sbatch"))
WAIT = 1500.0  # seconds for a job
CONFIGURATION = """
ClusterName=here
SlurmctldHost={head}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation={scratch}/slurm/state
SlurmdSpoolDir={scratch}/slurm/%n
SlurmctldPidFile={scratch}/slurm/slurmctld.pid
SlurmdPidFile={scratch}/slurm/%n.pid
SlurmctldLogFile={scratch}/slurm/slurmctld.log
SlurmdLogFile={scratch}/slurm/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SlurmdTimeout=15
KillWait=10
MessageTimeout=20
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@contextlib.contextmanager
def slurm() -> Iterator[Cluster]:
    """The hosts with a controller on the first one and a daemon on each."""
    with cluster() as it:
        folder = it.tools.parent / "slurm"
        for inner in ("state", *HOSTS):
            (folder / inner).mkdir(parents=True)
        (folder / "cgroup.conf").write_text("CgroupAutomount=yes\nCgroupPlugin=cgroup/v1\n")
        nodes = "\n".join(f"NodeName={name} NodeAddr={name} CPUs={os.cpu_count()}" for name in HOSTS)
        (folder / "slurm.conf").write_text(CONFIGURATION.format(head=HEAD, scratch=it.tools.parent, nodes=nodes))
        subprocess.run(["service", "munge", "start"], check=True, capture_output=True)
        daemons = [it.ssh(HEAD, f"slurmctld -D -f {folder}/slurm.conf", log="slurmctld")]
        daemons += [
            it.ssh(
                name,
                f"mount -t tmpfs cgroup /sys/fs/cgroup && slurmd -D -N {name} -f {folder}/slurm.conf",
                log=f"slurmd-{name}",
            )
            for name in HOSTS
        ]
        try:
            until = time.monotonic() + 60
            while ask(it, "sinfo -h -o %D -t idle").strip() != str(len(HOSTS)):
                if time.monotonic() > until:
                    raise SystemExit(f"Slurm did not start: {ask(it, 'sinfo -N')}{it.words('slurmd-gpu1')[-2000:]}")
                time.sleep(1)
            yield it
        finally:
            for daemon in daemons:
                daemon.kill()


def ask(it: Cluster, command: str) -> str:
    """What a command of Slurm's says on the first host."""
    path = f"{it.tools}:{os.environ['PATH']}"
    line = f"SLURM_CONF={it.tools.parent}/slurm/slurm.conf {command}"
    done = subprocess.run(["ssh", HEAD, line], env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def submitted(it: Cluster, names: list[str], options: str, arguments: str = "") -> str:
    """The number of a job of slurm.sbatch with these searches."""
    spaces = [it.shared / f"{name}.yaml" for name in names]
    for space in spaces:
        space.write_text(SPACE.format(name=space.stem))
    variables = (
        f"SPACES='{' '.join(map(str, spaces))}' RUNS={it.shared}/runs VENV={sys.prefix} DATA=digits NAS_CACHE={CACHE} "
        f"SLURM_CONF={it.tools.parent}/slurm/slurm.conf"
    )
    words = f"--gpus-per-node=0 --cpus-per-task=1 --time=20 --output={it.shared}/%x-%a.log {options}"
    said = ask(it, f'bash -c "cd {ROOT} && {variables} sbatch --parsable {words} {SBATCH} {arguments}"').strip()
    if not said.isdigit():
        raise AssertionError(f"sbatch: {said}")
    return said


def wait_for_job(it: Cluster, job: str) -> None:
    """Until Slurm has nothing more to do for a job."""
    until = time.monotonic() + WAIT
    while ask(it, f"squeue -h -j {job} -o %T").strip() not in ("", "slurm_load_jobs error: Invalid job id specified"):
        if time.monotonic() > until:
            raise AssertionError(f"job {job} is still there: {ask(it, 'squeue')}")
        time.sleep(2)


def log_of(it: Cluster, array: str = "4294967294") -> str:
    """What a job has written."""
    return (it.shared / f"nas-{array}.log").read_text()


def wait_for_words(it: Cluster, words: str) -> None:
    """Until the job has written these words."""
    until = time.monotonic() + WAIT
    log = it.shared / "nas-4294967294.log"
    while not log.exists() or words not in log.read_text():
        if time.monotonic() > until:
            raise AssertionError(f"the job never said {words!r}")
        time.sleep(0.5)


def plain(it: Cluster) -> None:
    """A search over three nodes."""
    wait_for_job(it, submitted(it, ["plain"], "--nodes=3"))
    record = check_whole(it, "plain")
    check(record["attempts"].str.contains("gpu[23]").any(), "other nodes than the first trained")


def node(it: Cluster) -> None:
    """A node loses its power."""
    job = submitted(it, ["node"], "--nodes=3")
    wait_for_words(it, "paused at a rung")
    it.hosts["gpu3"].shoot()
    wait_for_job(it, job)
    check_whole(it, "node")


def limit(it: Cluster) -> None:
    """The time is up before the search is through: the job goes into the queue again, and the search on."""
    job = submitted(it, ["limit"], "--nodes=2 --time=5 --signal=B:USR1@120", "--trials 150")
    wait_for_job(it, job)
    log = log_of(it)
    check("the time is up" in log, "it was told in time")
    check(log.count("data: digits") > 1, "it began more than once, and its log was appended to")
    check_whole(it, "limit", trials=150)


def expired(it: Cluster) -> None:
    """The allocation ends without a word before it, as where --signal was left out; the job is submitted again by hand."""
    ends_early = "--nodes=2 --time=2 --signal=CONT@1 --no-requeue"
    wait_for_job(it, submitted(it, ["expired"], ends_early, "--trials 200"))
    begun = int(re.findall(r"\[(\d+)/200", log_of(it))[-1])
    check(0 < begun < 200, f"it was ended at {begun} of 200 trials")
    wait_for_job(it, submitted(it, ["expired"], "--nodes=2", f"--trials {begun + 2}"))
    check_whole(it, "expired", trials=begun + 2)


def cancelled(it: Cluster) -> None:
    """A user takes the job back: it must not put itself into the queue again."""
    job = submitted(it, ["cancelled"], "--nodes=2", "--trials 40")
    wait_for_words(it, "paused at a rung")
    ask(it, f"scancel {job}")
    wait_for_job(it, job)
    time.sleep(20)
    check(not ask(it, "squeue -h").strip(), "nothing is in the queue")
    check("\nStopped. Nothing that finished is lost" in log_of(it), "the search has stopped in order")


def array(it: Cluster) -> None:
    """Two searches as a job array, in one storage."""
    wait_for_job(it, submitted(it, ["one", "two"], "--nodes=1 --array=0-1"))
    for name in ("one", "two"):
        check_whole(it, name)
    check((it.shared / "runs" / "searches.journal").exists(), "both records are in one journal")


def retrain(it: Cluster) -> None:
    """A full training over two nodes by retrain.sbatch."""
    variables = f"VENV={sys.prefix} NAS_CACHE={CACHE} SLURM_CONF={it.tools.parent}/slurm/slurm.conf"
    words = f"--gpus-per-node=0 --cpus-per-task=1 --time=20 --output={it.shared}/retrain.log"
    network = it.shared / "network.json"
    network.write_text(tiny_network())
    arguments = f"{network} --recipe digits_quick --set epochs=2 --device cpu --out {it.shared}/trained"
    job = ask(it, f'bash -c "cd {ROOT} && {variables} sbatch --parsable {words} {RETRAIN} {arguments}"').strip()
    wait_for_job(it, job)
    result = json.loads((it.shared / "trained" / "result.json").read_text())
    check(result["processes"] == 2 and result["epochs"] == 2, "two processes trained two epochs together")


def tiny_network() -> str:
    """An architecture that trains in seconds."""
    stages = (Stage(mixer="pool", depth=1, width=16), Stage(mixer="conv", depth=1, width=32))
    return Architecture(stages=stages).model_dump_json()


CASES: dict[str, Callable[[Cluster], None]] = {f.__name__: f for f in (plain, node, limit, expired, cancelled, array, retrain)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], default=list(CASES), help=", ".join(CASES))
    asked = parser.parse_args()
    if os.geteuid() or not all(map(shutil.which, ("slurmctld", "slurmd", "munged", "ip", "unshare", "nsenter"))):
        raise SystemExit("slurm_here.py needs root, slurmctld, slurmd, munge, ip, unshare and nsenter: nothing was tried")
    raise SystemExit(several_hosts.carried_out({name: CASES[name] for name in asked.cases}, on=slurm))


if __name__ == "__main__":
    main()
