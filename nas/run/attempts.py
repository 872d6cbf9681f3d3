"""Attempts at a trial: where each one ran, what ended it, and what of a search's time was for nothing."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from nas.run.record import Record
from nas.run.settings import Resources

RETRIES = 2  # of a trial whose worker died; what an architecture does to its training is an outcome and never retried
DRIVER_GONE = "the driver was killed or stopped"


def begun(record: Record, *, host: str, resources: Resources) -> list[dict[str, Any]]:
    """A trial's attempts with one that begins now."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return [*attempts(record), {"host": host, "began": now, "cpu": resources.cpu, "gpu": resources.gpu}]


def ended(record: Record, *, cause: str) -> list[dict[str, Any]]:
    """A trial's attempts with what ended the last one, before it could; one that no worker has begun is an attempt too."""
    known = attempts(record)
    if not known or "cause" in known[-1]:
        known.append({"host": "not placed yet"})
    return [*known[:-1], {**known[-1], "cause": cause}]


def attempts(record: Record) -> list[dict[str, Any]]:
    """A trial's attempts as they were put down, the first one first."""
    return list(record.facts.get("attempts", ()))


def num_lost(record: Record) -> int:
    """Attempts that the machine lost, a killed driver's left out."""
    return sum(a.get("cause", DRIVER_GONE) != DRIVER_GONE for a in attempts(record))


class Ledger(NamedTuple):
    """Where a search's time went, in seconds of one trial's resources; every epoch that was told counts."""

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


def ledger(records: Iterable[Record]) -> Ledger:
    """What all trials of a record have cost so far."""
    rows = [(r, _spent(r)) for r in records if r.state != "answered"]
    return Ledger(
        seconds=sum(spent for _, spent in rows),
        failed_seconds=sum(spent - repeated(r) for r, spent in rows if r.state == "failed"),
        repeated_seconds=sum(repeated(r) for r, _ in rows),
        gpu_seconds=sum(spent * _gpu(r) for r, spent in rows),
    )


def repeated(record: Record) -> float:
    """Seconds of a trial's epochs that had to be trained again."""
    return record.facts.get("repeated", 0.0)


def _spent(record: Record) -> float:
    return max(record.seconds, sum(e.get("seconds", 0.0) for e in record.curve)) + repeated(record)


def _gpu(record: Record) -> float:
    return max((a.get("gpu", 0.0) for a in attempts(record)), default=0.0)
