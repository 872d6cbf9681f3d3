"""How decoding goes, for a person: a bar with images/s in a terminal, two lines elsewhere; nothing when it is short."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from nas.data.cache import cache_folder
from nas.data.decoding import PROBE, OnDecoded
from nas.units import count, duration

SHOWN_FROM_SECONDS = 1.0  # expected seconds below which nothing is shown
TICK = 0.2  # seconds between two updates of the bar
FIRST_DONE = {"images": PROBE, "bytes": 1}  # what must be done before the rest is reckoned from it


@contextmanager
def shown_decoding(console: Console, *, image_size: int) -> Iterator[OnDecoded]:
    """What to tell of each decoded image, and of a packed tar as it is unpacked; the display ends with the `with` block."""
    display = _Decoding(console, image_size)
    try:
        yield display.take_note
    finally:
        display.stop()


class _Decoding:
    """One pass over images or bytes after another, each shown only if it takes long enough to be noticed."""

    def __init__(self, console: Console, image_size: int):
        self.console, self.image_size = console, image_size
        self.began = self.ticked = 0.0
        self.judged, self.shown = False, False
        self.bar: Progress | None = None

    def take_note(self, done: int, total: int, unit: str) -> None:
        """Takes note that `done` of `total` images are decoded, or bytes unpacked."""
        now = time.monotonic()
        if done == 0:
            self.stop()
            self.began, self.judged = now, False
        elif done >= FIRST_DONE[unit] and not self.judged:
            self.judged = True
            if (now - self.began) / done * total > SHOWN_FROM_SECONDS:
                self._show(total, unit)
        if self.shown and done == total:
            self._end(total, unit)
        elif self.bar and now - self.ticked > TICK:
            self._tick(self.bar, done, total, unit)

    def stop(self) -> None:
        """Takes the bar away."""
        if self.bar:
            self.bar.stop()
        self.shown, self.bar = False, None

    def _show(self, total: int, unit: str) -> None:
        pixels = count(total * 3 * self.image_size**2)
        work = {
            "images": f"decoding {total:,} images at {self.image_size} px into {cache_folder()} ({pixels}B, ",
            "bytes": f"unpacking a tar of {count(total)}B into {cache_folder()} (",
        }
        self.console.print(f"{work[unit]}once for this machine)", soft_wrap=True)
        self.shown = True
        if self.console.is_terminal:
            self.bar = Progress(
                BarColumn(), TextColumn("{task.fields[state]}", markup=False), console=self.console, transient=True
            )
            self.bar.add_task("", total=total, state="")
            self.bar.start()

    def _tick(self, bar: Progress, done: int, total: int, unit: str) -> None:
        self.ticked = time.monotonic()
        rate = done / (self.ticked - self.began)
        state = (
            f"{_amount(done, unit)} of {_amount(total, unit)} · {_amount(rate, unit)}/s · ETA {duration((total - done) / rate)}"
        )
        bar.update(bar.task_ids[0], completed=done, state=state)

    def _end(self, total: int, unit: str) -> None:
        self.stop()
        seconds = time.monotonic() - self.began
        verb = {"images": "decoded", "bytes": "unpacked"}[unit]
        self.console.print(f"{verb} in {duration(seconds)}, {_amount(total / seconds, unit)}/s")


def _amount(number: float, unit: str) -> str:
    return f"{number:,.0f} images" if unit == "images" else f"{count(number)}B"
