"""Attempts at a trial: where each one ran, what ended it, and what of a search's time was for nothing."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

from nas.run.record import Attempt, Record, TrialState
from nas.run.settings.sections import Resources

RETRIES = 2  # of a trial whose worker died; what an architecture does to its training is an outcome and never retried
DRIVER_GONE = "the driver was killed or stopped"


def with_attempt(record: Record, *, host: str, resources: Resources) -> tuple[Attempt, ...]:
    """A trial's attempts with one that begins now."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return (*record.attempts, Attempt(host, began=now, cpu=resources.cpu, gpu=resources.gpu))


def with_cause(record: Record, *, cause: str, host: str | None = None) -> tuple[Attempt, ...]:
    """A trial's attempts with what ended the last one, before it could; one that did not come to train is an attempt too."""
    attempts = record.attempts
    if not attempts or attempts[-1].cause is not None:
        attempts = (*attempts, Attempt(host or "not placed yet"))
    return (*attempts[:-1], replace(attempts[-1], cause=cause))


def lost_attempts(record: Record) -> list[Attempt]:
    """Attempts that the machine lost, a killed driver's left out."""
    return [attempt for attempt in record.attempts if (attempt.cause or DRIVER_GONE) != DRIVER_GONE]


class TimeSpent(NamedTuple):
    """Where a search's time went, in seconds of one trial's resources; every epoch in the record counts."""

    seconds: float
    """Of all trials together."""
    failed_seconds: float
    """Of these, in trials that ended without a result."""
    repeated_seconds: float
    """Of these, in epochs that an interruption took back."""
    gpu_seconds: float
    """Times the GPUs, or the share of one, that the trials held."""

    @property
    def wasted_share(self) -> float:
        """Share of the time that brought no result."""
        return (self.failed_seconds + self.repeated_seconds) / self.seconds if self.seconds else 0.0


def time_spent(records: Iterable[Record]) -> TimeSpent:
    """What all trials of a record have cost so far."""
    rows = [(r, _spent(r)) for r in records if r.state != TrialState.ANSWERED]
    return TimeSpent(
        seconds=sum(spent for _, spent in rows),
        failed_seconds=sum(spent - r.repeated for r, spent in rows if r.state == TrialState.FAILED),
        repeated_seconds=sum(r.repeated for r, _ in rows),
        gpu_seconds=sum(spent * max((a.gpu for a in r.attempts), default=0.0) for r, spent in rows),
    )


def _spent(record: Record) -> float:
    return max(record.seconds, record.trained_seconds) + record.repeated
