"""How decoding goes, for a person: a bar with images/s in a terminal, two lines elsewhere; nothing when it is short."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from nas.training.cache import cache_folder
from nas.training.decoding import PROBE, OnDecoded
from nas.units import count, duration

PATIENCE = 1.0  # expected seconds below which nothing is shown
TICK = 0.2  # seconds between two updates of the bar


@contextmanager
def shown_decoding(console: Console, *, image_size: int) -> Iterator[OnDecoded]:
    """What to tell of each decoded image; the display ends with the `with` block."""
    display = _Decoding(console, image_size)
    try:
        yield display.told
    finally:
        display.stop()


class _Decoding:
    """One pass over images after another, each shown only if it takes long enough to be noticed."""

    def __init__(self, console: Console, image_size: int):
        self.console, self.image_size = console, image_size
        self.began = self.ticked = 0.0
        self.shown, self.bar = False, None

    def told(self, done: int, total: int) -> None:
        """Takes note that `done` of `total` images are decoded."""
        now = time.monotonic()
        if done == 0:
            self.stop()
            self.began = now
        elif done == PROBE and (now - self.began) / done * total > PATIENCE:
            self._show(total)
        if self.shown and done == total:
            self._end(total)
        elif self.bar and now - self.ticked > TICK:
            self._tick(done, total)

    def stop(self) -> None:
        """Takes the bar away."""
        if self.bar:
            self.bar.stop()
        self.shown, self.bar = False, None

    def _show(self, total: int) -> None:
        size = count(total * 3 * self.image_size**2)
        text = f"decoding {total:,} images at {self.image_size} px into {cache_folder()} ({size}B, once for this machine)"
        self.console.print(text, highlight=False, soft_wrap=True)
        self.shown = True
        if self.console.is_terminal:
            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
            self.bar = Progress(*columns, console=self.console, transient=True)
            self.bar.add_task("", total=total, rate="")
            self.bar.start()

    def _tick(self, done: int, total: int) -> None:
        self.ticked = time.monotonic()
        rate = done / (self.ticked - self.began)
        self.bar.update(
            self.bar.task_ids[0], completed=done, rate=f"{rate:,.0f} images/s · ETA {duration((total - done) / rate)}"
        )

    def _end(self, total: int) -> None:
        self.stop()
        seconds = time.monotonic() - self.began
        self.console.print(f"decoded in {duration(seconds)}, {total / seconds:,.0f} images/s", highlight=False)
