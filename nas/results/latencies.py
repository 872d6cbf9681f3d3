"""Recorded latencies: under which conditions they were measured, and which of them a table shows."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from nas.errors import NasError
from nas.run.additions import LATENCY, Addition
from nas.run.reading import Reading
from nas.run.record import damaged
from nas.terminal import command


class Setup(NamedTuple):
    """One machine and one way of measuring on it."""

    which: str
    """Equal for equal conditions on equal machines."""
    conditions: dict[str, Any]
    machine: dict[str, Any]
    measured: str
    """When the last of them was, in ISO 8601."""
    trials: int

    def __str__(self) -> str:
        conditions = self.conditions
        mode = "compiled" if conditions["compile"] else "eager"
        layout = "channels_last" if conditions["channels_last"] else "contiguous"
        size = f"batch {conditions['batch']}, {conditions['image_size']} px, {conditions['dtype']}, {layout}, {mode}"
        return f"{self.machine['device']} {self.machine['model']}, {self.machine['threads']} threads, {size}"


def setups(reading: Reading) -> list[Setup]:
    """Every machine and way of measuring in the record, the one that was used last at the end."""
    by_setup: dict[str, list[Addition]] = {}
    for each in reading.additions:
        if each.kind == LATENCY:
            by_setup.setdefault(each.which, []).append(each)
    measured = [_setup(which, several) for which, several in by_setup.items()]
    return sorted(measured, key=lambda setup: (setup.measured, setup.which))


def _setup(which: str, several: list[Addition]) -> Setup:
    newest = max(several, key=lambda each: each.value["measured"])
    last = newest.value
    if lacking := [name for name in ("conditions", "machine") if not last.get(name)]:
        raise damaged(newest.trial, f"latency.{which}.{lacking[0]}", "this key is required; add it")
    return Setup(which, last["conditions"], last["machine"], last["measured"], len(several))


def chosen_setup(reading: Reading, words: str | None) -> Setup | None:
    """The setup that was measured last, among those in which all `words` stand; None where nothing was measured.

    NasError where something was, but not so.
    """
    measured = setups(reading)
    able = [s for s in measured if all(word in str(s).lower() for word in (words or "").lower().split())]
    if measured and not able:
        listed = "".join(f"\n  {setup}" for setup in measured)
        raise NasError(
            f"{reading.folder.root}: no latency was recorded for {words!r}, but for:{listed}\n"
            f"Name one of these, or measure it with the options of `nas latency --help`: "
            f"{command('latency', reading.folder.root)}"
        )
    return able[-1] if able else None


def latencies(reading: Reading, words: str | None) -> dict[int, float]:
    """Median milliseconds a batch by trial, under the conditions that `chosen_setup` picks."""
    setup = chosen_setup(reading, words)
    return {} if setup is None else dict(_of(reading, setup))


def _of(reading: Reading, setup: Setup) -> Iterator[tuple[int, float]]:
    for each in reading.additions:
        if each.kind == LATENCY and each.which == setup.which:
            yield each.trial, float(each.value["latency_ms"])
