"""Searches that are shot at: kills of every kind, and after each the record's invariants.

python experiments/chaos/shoot.py --out runs/chaos
"""

import csv
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.console import Console
from rich.table import Table

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
from invariants import MARK, broken, hypervolume, records_of, survivors  # noqa: E402
from server import postgresql  # noqa: E402

from nas.run.attempts import time_spent  # noqa: E402
from nas.run.cache import RESULTS_VARIABLE  # noqa: E402
from nas.run.storage import URL_VARIABLE  # noqa: E402

ROOT = Path(__file__).parents[2]
SEARCH = Path(__file__).with_name("chaos.yaml")
LIFE_SECONDS = 900
TRIALS: tuple[str, ...] = ()  # as chaos.yaml says
ORPHAN_SECONDS = 45  # Ray's own agents take a while to notice that they are alone


class Result(NamedTuple):
    """What one kind of shot came to."""

    kind: str
    shots: int
    restarts: tuple[float, ...]
    """Seconds from each start of the command to the first trial that runs again."""
    repeated_seconds: float
    wasted_share: float
    hypervolume: float
    broken: tuple[str, ...]


class Run:
    """One search in its folder, started as often as need be."""

    first: "Run | None" = None
    """The unkilled one."""

    def __init__(self, root: Path, name: str, *settings: str):
        self.folder, self.mark, self.results = root / name, f"{name}-{os.getpid()}", root / f"{name}-results"
        self.log = root / f"{name}.log"
        self.command = [sys.executable, "run_search.py", str(SEARCH), "--out", str(self.folder), *settings]
        self.starts: list[float] = []
        self.start_seconds = next(iter(Run.first.restarts()), 10.0) if Run.first else 10.0

    def start(self) -> subprocess.Popen:
        """The command in a session of its own."""
        self.starts.append(time.time())
        with self.log.open("a") as log:
            known = {name: value for name, value in os.environ.items() if name != URL_VARIABLE}  # the command line has it
            environment = {**known, MARK: self.mark, RESULTS_VARIABLE: str(self.results)}
            return subprocess.Popen(self.command, cwd=ROOT, stdout=log, stderr=log, env=environment, start_new_session=True)

    def live(self, least: float, most: float, rng: random.Random) -> subprocess.Popen:
        """Start it and wait a random time, in multiples of what the unkilled search took to its first trial."""
        driver = self.start()
        with suppress(subprocess.TimeoutExpired):
            driver.wait(timeout=rng.uniform(least, most) * self.start_seconds)
        return driver

    def shot_at(self, shots: int, shoot: Callable[[subprocess.Popen, int], None], *moments: float, rng: random.Random) -> int:
        """Start it and shoot at its driver, again and again, and let it end; the number of shots that fell before the end."""
        for shot in range(shots):
            driver = self.live(*moments, rng)
            if driver.poll() is not None:
                return shot
            shoot(driver, shot)
        self.end()
        return shots

    def bothered(self, shots: int, rng: random.Random, shoot: Callable[[], None]) -> int:
        """Run it to its end and shoot some seconds apart once it trains; the number of shots that fell before the end."""
        driver, done = self.start(), 0
        with suppress(subprocess.TimeoutExpired):
            driver.wait(timeout=self.start_seconds)
        while done < shots:
            with suppress(subprocess.TimeoutExpired):
                driver.wait(timeout=rng.uniform(2, 8))
                break
            shoot()
            done += 1
        driver.wait(timeout=LIFE_SECONDS)
        self.end()
        return done

    def end(self) -> None:
        """Run it to its end."""
        driver = self.start()
        if code := driver.wait(timeout=LIFE_SECONDS):
            raise RuntimeError(f"{self.folder}: ended with {code}: {self.log.read_text()[-2000:]}")

    def workers(self) -> list[int]:
        """Processes that train."""
        return [pid for pid in survivors(self.mark) if "ray::" in _command_line(pid) and "Implicit" in _command_line(pid)]

    def restarts(self) -> tuple[float, ...]:
        """Seconds from each start to the first trial that ran after it, where one did before the next shot."""
        begins = sorted(
            datetime.fromisoformat(attempt.began).timestamp()
            for record in records_of(self.folder)
            for attempt in record.attempts
            if attempt.began is not None
        )
        later = [*self.starts[1:], float("inf")]
        firsts = [next((b for b in begins if start <= b < end), None) for start, end in zip(self.starts, later, strict=True)]
        return tuple(first - start for start, first in zip(self.starts, firsts, strict=True) if first is not None)

    def result(self, kind: str, *, shots: int, unkilled: Path | None, exactly: bool = False) -> Result:
        """The invariants after the last shot."""
        until = time.monotonic() + ORPHAN_SECONDS
        while (left := list(survivors(self.mark))) and time.monotonic() < until:
            time.sleep(1)
        wrong = [*broken(self.folder, unkilled=unkilled, exactly=exactly), *(f"process {p} is left" for p in left)]
        spent = time_spent(records_of(self.folder))
        volume = hypervolume(self.folder)
        return Result(kind, shots, self.restarts(), spent.repeated_seconds, spent.wasted_share, volume, tuple(wrong))


def _command_line(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return ""


def kill_drivers(root: Path, shots: int, rng: random.Random, unkilled: Path) -> Result:
    """SIGKILL to the driver of one search at random moments."""

    def shoot(driver: subprocess.Popen, shot: int) -> None:
        driver.kill()
        driver.wait()

    run = Run(root, "driver", *TRIALS)
    done = run.shot_at(shots, shoot, 0.05, 2.5, rng=rng)
    return run.result("driver, SIGKILL", shots=done, unkilled=unkilled, exactly=True)


def kill_remembering(root: Path, shots: int, rng: random.Random, unkilled: Path) -> Result:
    """SIGKILL to the driver of a search that is answered from an earlier one's results, learns from it, is told a belief and
    may stop when flat. The old run's results are copied, so that the killed search and its unkilled twin have the same."""

    def shoot(driver: subprocess.Popen, shot: int) -> None:
        driver.kill()
        driver.wait()

    old = Run(root, "old", "--trials", "16", "--set", "search.proposal_seed=7")
    old.end()
    settings = (
        *(TRIALS or ("--trials", "64")),
        *("--set", f"search.learn_from=[{old.folder}]", "--set", "search.stop={gain: 0.5%, within: 8}"),
        *("--set", "prior={stage1.mixer: {conv: high}, stage3.mixer: {random: low}}"),
    )
    whole, killed = Run(root, "whole", *settings), Run(root, "remembering", *settings)
    for run in (whole, killed):
        shutil.copytree(old.results, run.results)
    whole.end()
    done = killed.shot_at(shots, shoot, 0.05, 2.5, rng=rng)
    result = killed.result("driver that remembers, SIGKILL", shots=done, unkilled=whole.folder, exactly=True)
    answered = sum(record.source is not None for record in records_of(killed.folder))
    return result if answered else result._replace(broken=(*result.broken, "nothing was answered from the old run"))


def interrupt_drivers(root: Path, shots: int, rng: random.Random, unkilled: Path) -> Result:
    """SIGTERM once, and in every other shot a second one, which ends it at once."""

    def shoot(driver: subprocess.Popen, shot: int) -> None:
        for _ in range(1 + shot % 2):
            driver.send_signal(signal.SIGTERM)
            time.sleep(0.1)
        driver.wait(timeout=60)

    run = Run(root, "interrupt", *TRIALS)
    done = run.shot_at(shots, shoot, 0.7, 2.5, rng=rng)
    return run.result("driver, SIGTERM once or twice", shots=done, unkilled=unkilled, exactly=True)


def kill_workers(root: Path, shots: int, rng: random.Random, unkilled: Path) -> Result:
    """SIGKILL to a random worker of two while the search goes on."""

    def shoot() -> None:
        while not (pids := run.workers()):
            time.sleep(0.5)
        os.kill(rng.choice(pids), signal.SIGKILL)

    run = Run(root, "worker", "--workers", "2", "--trials", str(24 + 8 * shots))
    return run.result("worker, SIGKILL", shots=run.bothered(shots, rng, shoot), unkilled=unkilled)


def freeze_drivers(root: Path, shots: int, rng: random.Random, unkilled: Path) -> Result:
    """SIGSTOP; a second driver takes over; the first wakes up and must stop without a word to the record."""
    run = Run(root, "frozen", "--trials", "96")
    for _ in range(shots):
        first = run.live(1.1, 1.6, rng)
        os.kill(first.pid, signal.SIGSTOP)
        second = run.start()
        time.sleep(rng.uniform(35, 40) + 3 * run.start_seconds)
        os.kill(first.pid, signal.SIGCONT)
        if first.wait(timeout=60) == 0:
            raise RuntimeError("two drivers ran at once")
        second.kill()
        second.wait()
    run.end()
    return run.result("driver, SIGSTOP longer than its heartbeat", shots=shots, unkilled=unkilled)


def fill_disk(root: Path, shots: int, rng: random.Random, unkilled: Path) -> Result:
    """The disk of the run is full for some seconds; needs the right to mount."""
    mount = root / "disk"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(mount)], check=True)

    def shoot() -> None:
        with _full(mount):
            time.sleep(rng.uniform(5, 12))

    try:
        run = Run(mount, "full")
        done = run.bothered(shots, rng, shoot)
        return run.result("disk full", shots=done, unkilled=unkilled, exactly=True)
    finally:
        shutil.copytree(mount, root / "full", dirs_exist_ok=True)
        subprocess.run(["umount", "-l", str(mount)], check=True)


@contextmanager
def _full(mount: Path) -> Iterator[None]:
    filler = mount / "filler"
    with suppress(OSError), filler.open("wb") as file:
        while True:
            file.write(b"\0" * 65536)
            file.flush()
    yield
    filler.unlink()


def lock_storage(root: Path, shots: int, rng: random.Random, unkilled: Path) -> Result:
    """The record can only be read for some seconds: another program holds the database."""

    def shoot() -> None:
        with closing(sqlite3.connect(run.folder / "study.db", timeout=60, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(rng.uniform(8, 20))

    run = Run(root, "locked")
    return run.result("record not writable", shots=run.bothered(shots, rng, shoot), unkilled=unkilled, exactly=True)


def restart_postgresql(root: Path, shots: int, rng: random.Random, unkilled: Path) -> Result:
    """The database server of the record is stopped and started again, at once or after some seconds."""

    def shoot() -> None:
        server.control("stop", "-m", rng.choice(["fast", "immediate"]))
        time.sleep(rng.uniform(0, 10))
        server.control("start")

    with postgresql(root / "postgresql") as server:
        os.environ[URL_VARIABLE] = server.url  # for the judgement, which has the run's folder only
        run = Run(root, "restarted", "--storage", server.url)
        return run.result("PostgreSQL restarted", shots=run.bothered(shots, rng, shoot), unkilled=unkilled, exactly=True)


def kill_nodes(root: Path, shots: int, rng: random.Random, unkilled: Path) -> Result:
    """A node of a simulated cluster of three, one of which is the head, is killed, and another one joins."""

    def shoot() -> None:
        print("shoot", file=cluster.stdin, flush=True)
        cluster.stdout.readline()

    command = [sys.executable, str(Path(__file__).with_name("cluster.py")), "2", "1"]
    cluster = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        address = cluster.stdout.readline().strip()
        run = Run(root, "node", "--workers", "2", "--address", address, "--trials", str(16 * shots))
        return run.result("node of three, SIGKILL", shots=run.bothered(shots, rng, shoot), unkilled=unkilled)
    finally:
        cluster.communicate("end\n", timeout=60)


SCENES = {
    "driver": (kill_drivers, 25),
    "remembering": (kill_remembering, 8),
    "interrupt": (interrupt_drivers, 6),
    "worker": (kill_workers, 12),
    "node": (kill_nodes, 5),
    "frozen": (freeze_drivers, 2),
    "locked": (lock_storage, 3),
    "full": (fill_disk, 4),
    "postgresql": (restart_postgresql, 4),
}


def main(
    out: Annotated[Path, typer.Option(help="A new folder for the searches.")],
    scenes: Annotated[str, typer.Option(help="Which kinds of shots, with commas.")] = ",".join(SCENES),
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 0,
) -> None:
    """Shoot at searches, print what came of it, and write results.csv; exit code 1 if an invariant is broken."""
    out = out.absolute()
    if any(out.glob("*")):
        raise typer.BadParameter(f"must be a new folder, but {out} holds something", param_hint="--out")
    out.mkdir(parents=True, exist_ok=True)
    unkilled = Run(out, "unkilled")
    unkilled.end()
    Run.first = unkilled
    results = []
    for name in scenes.split(","):
        shoot, shots = SCENES[name]
        results.append(shoot(out, shots, random.Random(f"{seed} {name}"), unkilled.folder))
        show(results[-1:])
        write(results, out / "results.csv")
    show(results, volume=hypervolume(unkilled.folder))
    raise typer.Exit(any(r.broken for r in results))


def show(results: list[Result], *, volume: float | None = None) -> None:
    """The table of shots and outcomes."""
    table = Table("shot", "times", "restart s (median, most)", "repeated s", "wasted", "hypervolume", "broken invariants")
    for r in results:
        waits = sorted(r.restarts)
        wait = f"{waits[len(waits) // 2]:.0f}, {waits[-1]:.0f}" if waits else "none"
        wrong = "\n".join(r.broken) or "none"
        table.add_row(
            r.kind, str(r.shots), wait, f"{r.repeated_seconds:.1f}", f"{r.wasted_share:.1%}", f"{r.hypervolume:.4f}", wrong
        )
    Console(width=160).print(table)
    if volume is not None:
        print(f"hypervolume of the unkilled search: {volume:.4f}")


def write(results: list[Result], path: Path) -> None:
    """One row a kind of shot."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Result._fields)
        writer.writerows([*r[:2], " ".join(f"{s:.1f}" for s in r.restarts), *r[3:6], "; ".join(r.broken)] for r in results)


if __name__ == "__main__":
    typer.run(main)
