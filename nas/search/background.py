"""Calls that wait in line for a thread of their own, so that what they talk to can neither hold nor end a search."""

import queue
import threading
import time
from collections.abc import Callable

from nas.errors import in_one_line

MOST_WAITING = 10_000
SILENT_SECONDS = 8.0  # until a call that does not return is spoken of
RETRY_SECONDS = 15.0  # between two tries of a call that failed
TRYING_SECONDS = 600.0  # until nothing more is tried
FLUSH_SECONDS = 30.0  # for what still waits at the end

Call = Callable[[], object]


class Background:
    """Does calls one after another; one that fails is tried again for ten minutes while the others wait behind it.

    `say` hears, once each time, that the other side is away, is back, or has been given up.
    """

    def __init__(self, name: str, *, say: Callable[[str], None]):
        self.name, self._say = name, say
        self._calls: queue.Queue[Call | None] = queue.Queue(MOST_WAITING)
        self._closing = threading.Event()
        self._is_away = self._is_broken = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def add(self, call: Call) -> None:
        """Put a call at the end of the line; returns at once."""
        if self._is_broken:
            return
        try:
            self._calls.put_nowait(call)
        except queue.Full:
            self._give_up(f"{MOST_WAITING:,} messages wait for it")

    def close(self, *, more: float = 0.0) -> None:
        """Wait until all is done, though not for long, and say so if something is not."""
        self._closing.set()
        if not self._calls.full():
            self._calls.put_nowait(None)
        self._thread.join(FLUSH_SECONDS + more)
        if self._thread.is_alive() or (self._is_away and not self._is_broken):
            self._say(f"{self.name} does not have all of this search, the record has: it stayed away, or was too slow.")

    def _work(self) -> None:
        while (call := self._calls.get()) is not None and not self._is_broken:
            if not self._does(call):
                break

    def _does(self, call: Call) -> bool:
        """Whether the call was done in the end; at the end of a search it has one try more."""
        until = time.monotonic() + TRYING_SECONDS
        while (why := self._failure(call)) is not None:
            if time.monotonic() > until:
                self._give_up(why)
            else:
                self._note_away(why)
            if self._is_broken or self._closing.is_set():
                return False
            self._closing.wait(RETRY_SECONDS)
        if self._is_away:
            self._is_away = False
            self._say(f"{self.name} is back.")
        return True

    def _failure(self, call: Call) -> str | None:
        """Why the call failed, None where it did not; one that is silent for long is spoken of while it lasts."""
        silence = threading.Timer(SILENT_SECONDS, self._note_away, [f"no answer for {SILENT_SECONDS:g} s"])
        silence.daemon = True
        silence.start()
        try:
            call()
        except Exception as error:  # whatever it is, it is no reason to lose a search
            return in_one_line(error)
        finally:
            silence.cancel()
        return None

    def _note_away(self, why: str) -> None:
        if not self._is_away:
            self._is_away = True
            self._say(f"{self.name} is away, the search goes on and tries it again now and then: {why}")

    def _give_up(self, why: str) -> None:
        self._is_broken = True
        self._say(f"{self.name} broke and logs no more, the search goes on: {why}")
