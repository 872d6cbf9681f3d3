"""How a calibration goes, for a person: a bar with an ETA in a terminal, a line a training elsewhere."""

import time
from collections import defaultdict
from contextlib import AbstractContextManager
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from nas.calibration.record import Training
from nas.units import duration, percent


class Pace:
    """How long trainings take: an architecture's measured seconds for each unit of work, else the mean of all."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.work: dict[str, float] = defaultdict(float)

    def learn(self, name: str, *, work: float, seconds: float) -> None:
        """Takes note of a training that was whole."""
        self.seconds[name] += seconds
        self.work[name] += work

    def expected(self, name: str, *, work: float) -> float | None:
        """Seconds that a training with so much work is expected to take; None as long as nothing was measured."""
        if name in self.work:
            return work * self.seconds[name] / self.work[name]
        return work * sum(self.seconds.values()) / sum(self.work.values()) if self.work else None


class CalibrationBar(AbstractContextManager):
    """The display of one calibration; `waiting` holds the work of each training that has not ended, by its setup."""

    def __init__(self, console: Console, *, total: int, waiting: dict[str, tuple[str, float]], pace: Pace):
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
        name, work = self.waiting.pop(training.setup)
        self.spent, self.failed = self.spent + seconds, self.failed + bool(cause)
        if not cause:
            self.pace.learn(name, work=work, seconds=seconds)
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
        expected = [self.pace.expected(name, work=work) for name, work in self.waiting.values()]
        measured = [seconds for seconds in expected if seconds is not None]
        if len(measured) < len(expected) or not self.spent:
            return "ETA unknown"
        return f"ETA {duration(sum(measured) * (time.monotonic() - self.began) / self.spent)}"
