"""Ctrl-C, and how Slurm and Kubernetes end a job: a wish that is granted between two writes to the record, or at once."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
STOPPED = 130  # exit code of a program that Ctrl-C ended


@contextlib.contextmanager
def own_signals() -> Iterator[None]:
    """Takes back what a library that is started in the block does to this process's signals."""
    ours = {name: signal.getsignal(name) for name in SIGNALS}
    yield
    if threading.current_thread() is threading.main_thread():
        for name, handler in ours.items():
            signal.signal(name, handler)


class Stopping:
    """Within its `with` block the first signal raises KeyboardInterrupt, though never inside `held`; a second one ends the
    process where it stands, which loses nothing either, but leaves what it started to find out."""

    def __init__(self) -> None:
        self.asked = self._holding = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Stopping":
        if threading.current_thread() is threading.main_thread():
            self._before = {name: signal.signal(name, self._ask) for name in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for name, handler in self._before.items():
            signal.signal(name, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked and "ipykernel" in sys.modules:  # a notebook's process is not this search's own
            raise KeyboardInterrupt
        if self.asked:
            print("\nStopped at once. Nothing that finished is lost; the same command continues.", file=sys.stderr, flush=True)
            os._exit(STOPPED)
        self.asked = True
        if not self._holding:
            raise KeyboardInterrupt
        print("\nStopping when this is written; Ctrl-C again stops at once.", file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keeps the first signal waiting until the block is through."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
        self.check()

    def check(self) -> None:
        """KeyboardInterrupt if a signal waits."""
        if self.asked:
            raise KeyboardInterrupt
