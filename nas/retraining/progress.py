"""How a full training goes, for a person: a bar with images/s and an ETA in a terminal, a line an epoch everywhere."""

import time
from contextlib import AbstractContextManager
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from nas.cores import num_cores
from nas.recipes.full import FullRecipe
from nas.retraining.train import Beginning
from nas.training.curve import Epoch, StepProgress
from nas.units import duration, percent

WAITING_SHARE = 0.2  # of an epoch, from which it is worth a word


class RetrainingBar(AbstractContextManager):
    """The display of one training."""

    def __init__(self, console: Console, recipe: FullRecipe):
        self.console, self.recipe = console, recipe
        self.images, self.done_before, self.done = 0, 0, 0
        self.began = self.epoch_began = time.monotonic()
        columns = (BarColumn(), TextColumn("{task.fields[state]}", markup=False))
        self.has_told_waiting = False
        self.bar = Bar(*columns, console=console, transient=True) if console.is_terminal else None

    def __enter__(self) -> "RetrainingBar":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.bar:
            self.bar.stop()

    def begin(self, beginning: Beginning) -> None:
        """The images lie ready: the clock of the ETA starts here."""
        self.images, self.done_before, self.done = beginning.train_images, beginning.epochs_done, beginning.epochs_done
        self.began = self.epoch_began = time.monotonic()
        held_out = f", {beginning.held_out_images:,} held out to follow it by" if beginning.held_out_images else ""
        again = f"; going on after epoch {beginning.epochs_done}" if beginning.epochs_done else ""
        self._print(
            f"{beginning.train_images:,} training images an epoch{held_out}, {beginning.test_images:,} test images{again}"
        )
        for line in beginning.remarks:
            self._print(line)
        if self.bar and not self.bar.task_ids:
            self.bar.add_task("", total=self.recipe.epochs, state="")
            self.bar.start()

    def step(self, progress: StepProgress) -> None:
        """Takes note of where an epoch is."""
        if not self.bar:
            return
        share = progress.step / progress.steps
        rate = progress.images / max(1e-9, time.monotonic() - self.epoch_began)
        state = (
            f"epoch {progress.epoch}/{self.recipe.epochs} · {rate:,.0f} images/s · loss {progress.loss:.4f} · "
            f"lr {progress.lr:.2e} · {self._eta(progress.epoch - 1 + share)}"
        )
        self.bar.update(self.bar.task_ids[0], completed=progress.epoch - 1 + share, state=state)

    def end_epoch(self, epoch: Epoch) -> None:
        """Takes note of a whole epoch."""
        self.done, self.epoch_began = epoch.epoch, time.monotonic()
        self._print(
            f"epoch {epoch.epoch}/{self.recipe.epochs}: loss {epoch.train_loss:.4f} · lr {epoch.lr:.2e}{self._judged(epoch)} · "
            f"{self.images / max(1e-9, epoch.seconds):,.0f} images/s · {self._eta(epoch.epoch)}"
        )
        self._tell_waiting(epoch)

    def _tell_waiting(self, epoch: Epoch) -> None:
        """Once, where images are read more slowly than they could be computed with."""
        loader, share = self.recipe.loader, epoch.reading_seconds / max(1e-9, epoch.seconds)
        if loader is None or share < WAITING_SHARE or self.has_told_waiting:
            return
        self.has_told_waiting = True
        self._print(
            f"mind: {share:.0%} of the time this training waits for images. What helps, in this order: more processes that "
            f"decode, as far as there are cores (--set loader.workers={2 * loader.workers or num_cores()}), images stored at a "
            "smaller size, a faster disk."
        )

    def remark(self, sentence: str) -> None:
        """Shows what happens to the training from outside."""
        self._print(sentence)

    def _judged(self, epoch: Epoch) -> str:
        if epoch.accuracy is None:
            return ""
        name, raw = "held out", ""
        if epoch.raw_accuracy is not None:
            name, raw = "held out: EMA", f", model {_both(epoch.raw_accuracy, epoch.raw_top5)}"
        return f" · {name} {_both(epoch.accuracy, epoch.top5)}{raw}"

    def _eta(self, done: float) -> str:
        here = done - self.done_before
        if here <= 0:
            return "ETA unknown"
        return f"ETA {duration((time.monotonic() - self.began) / here * (self.recipe.epochs - done))}"

    def _print(self, line: str) -> None:
        self.console.print(line, soft_wrap=True)


def _both(top1: float, top5: float | None) -> str:
    return f"top-1 {percent(top1)}, top-5 {percent(top5)}"
