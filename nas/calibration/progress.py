"""How a calibration goes, for a person: a bar with an ETA in a terminal, a line a training elsewhere."""

import time
from collections.abc import Collection
from contextlib import AbstractContextManager
from types import TracebackType

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from scipy.optimize import nnls

from nas.calibration.record import Training
from nas.units import duration, percent

Work = tuple[float, ...]
SHORTEST = 1e-3  # seconds: a training that took none would weigh without end


class Pace:
    """How long trainings take: so many seconds for each unit of each amount of their work, none of them below zero.

    A training's work is a tuple of amounts, such as images and multiply-accumulates: small networks take longer than their
    MACs say. Least squares of the relative errors.
    """

    def __init__(self) -> None:
        self._work: list[Work] = []
        self._seconds: list[float] = []

    def learn(self, work: Work, *, seconds: float) -> None:
        """Takes note of a training that was whole."""
        self._work.append(work)
        self._seconds.append(max(seconds, SHORTEST))

    def expected(self, waiting: Collection[Work]) -> float | None:
        """Seconds that trainings of so much work are expected to take together; None as long as nothing was measured."""
        if not waiting:
            return 0.0
        if not self._work:
            return None
        seconds, work = np.array(self._seconds), np.array(self._work, float)
        units = work.max(axis=0)  # amounts of one order of size
        rates, _ = nnls(work / units / seconds[:, None], np.ones(len(seconds)))
        return float((np.array(list(waiting), float) / units @ rates).sum())


class CalibrationBar(AbstractContextManager):
    """The display of one calibration; `waiting` holds the work of each training that has not ended, by its setup."""

    def __init__(self, console: Console, *, total: int, waiting: dict[str, Work], pace: Pace):
        self.console, self.total, self.waiting, self.pace = console, total, dict(waiting), pace
        self.began, self.spent, self.failed = time.monotonic(), 0.0, 0
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[state]}", markup=False))
        self.bar = Progress(*columns, console=console, transient=True) if console.is_terminal else None

    def __enter__(self) -> "CalibrationBar":
        if self.bar:
            self.bar.add_task(
                "", total=self.total, completed=self.total - len(self.waiting), state="ETA: after the first training"
            )
            self.bar.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.bar:
            self.bar.stop()

    def end(self, training: Training, *, accuracy: float | None, seconds: float, cause: str | None) -> None:
        """Takes note of a training."""
        work = self.waiting.pop(training.setup)
        self.spent, self.failed = self.spent + seconds, self.failed + bool(cause)
        if not cause:
            self.pace.learn(work, seconds=seconds)
        result = f"failed: {cause}" if cause else f"{percent(accuracy)} in {duration(seconds)}"
        self._show(f"{training.fidelity}, seed {training.seed}, {training.name}: {result}", loud=bool(cause))

    def _show(self, line: str, *, loud: bool) -> None:
        done, eta = self.total - len(self.waiting), self._eta()
        if self.bar:
            failed = f" · {self.failed} failed" if self.failed else ""
            self.bar.update(self.bar.task_ids[0], completed=done, state=f"{eta}{failed} · {line}")
        if not self.bar or loud:
            self.console.print(f"[{done}/{self.total}] {line} · {eta}", soft_wrap=True)

    def _eta(self) -> str:
        """What is left over what the trainings so far took of each second that went by."""
        expected = self.pace.expected(self.waiting.values())
        if expected is None or not self.spent:
            return "ETA unknown"
        return f"ETA {duration(expected * (time.monotonic() - self.began) / self.spent)}"
