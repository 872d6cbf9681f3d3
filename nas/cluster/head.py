"""The head of a cluster that was joined, watched: nothing goes on without it, and Ray would end the process after a minute."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

from nas.cluster.address import GREETING_SECONDS, reach
from nas.errors import NasError
from nas.units import duration

HEAD_LOOK_SECONDS = 2.0
GONE_SECONDS = 10.0  # without an answer: a head that a switch cuts off for a moment is back before
HEAD_LOST = 1  # exit code for a user
COMES_BACK = 75  # exit code for `started_again`, which runs the command once more: sysexits.h's EX_TEMPFAIL
DRIVEN = "NAS_STARTED_AGAIN"  # variable of a command that another one starts again
KNOCK_SECONDS = 5.0  # between two looks for a cluster that is awaited


@contextlib.contextmanager
def head_watched(address: str) -> Iterator[None]:
    """Within the block the process ends in seconds once the head at HOST:PORT is gone, and says what is safe and what to do."""
    over = threading.Event()
    threading.Thread(target=_watch, args=(address, over), daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _watch(address: str, over: threading.Event) -> None:
    answered = time.monotonic()
    while not over.wait(HEAD_LOOK_SECONDS):
        if takes_connections(address):
            answered = time.monotonic()
        elif time.monotonic() - answered > GONE_SECONDS and not over.is_set():
            _end(address)


def takes_connections(address: str) -> bool:
    """Whether somebody takes connections at HOST:PORT."""
    host, _, port = address.rpartition(":")
    with contextlib.suppress(OSError):
        socket.create_connection((host.strip("[]"), int(port)), timeout=GREETING_SECONDS).close()
        return True
    return False


def _end(address: str) -> None:
    """The process ends where it stands, which a record survives at any moment; Ray's own end could only be waited for."""
    is_driven = DRIVEN in os.environ
    way_out = "" if is_driven else ", or with --wait-for-cluster 30m wait for one by itself"
    show_cursor = "\033[?25h" if sys.stderr.isatty() else ""
    print(
        f"{show_cursor}\nerror: resources.address {address}: the cluster's head has not answered for {GONE_SECONDS:.0f} s, so "
        "this command ends. Nothing that finished is lost, and what was running goes on from its last checkpoint: once a "
        f"cluster is up again, the same command continues{way_out}.",
        file=sys.stderr,
        flush=True,
    )
    os._exit(COMES_BACK if is_driven else HEAD_LOST)


def started_again(address: str, *, patience: float, say: Callable[[str], None]) -> int:
    """Runs this very command in a process of its own, and again after each time its cluster's head went away; its exit code.

    For a cluster that is away `patience` seconds are waited each time.
    """
    while True:
        code = _run()
        if code != COMES_BACK:
            return code
        say(f"waiting up to {duration(patience)} for a cluster at {address}")
        if not _is_back(address, until=time.monotonic() + patience):
            say(f"no cluster came back at {address} in {duration(patience)}; the same command continues later")
            return HEAD_LOST
        say(f"the cluster at {address} is back: going on")


def _run() -> int:
    """The command once more. It hears of Ctrl-C by itself, as this process does; what ends this process is handed on."""
    child = subprocess.Popen([sys.executable, *sys.orig_argv[1:]], env={**os.environ, DRIVEN: "1"})
    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, _: child.send_signal(number))
    try:
        return child.wait()
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _is_back(address: str, *, until: float) -> bool:
    while time.monotonic() < until:
        with contextlib.suppress(NasError):
            reach(address)
            return True
        time.sleep(KNOCK_SECONDS)
    return False
