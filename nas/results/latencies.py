"""Recorded latencies: under which conditions they were measured, and which of them a table shows."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pandas as pd

from nas.devices.conditions import conditions_in
from nas.errors import NasError
from nas.run.additions import LATENCY, Addition
from nas.run.reading import Reading
from nas.run.settings.search import Search
from nas.space.costs import measured_as
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
        machine = self.machine
        return (
            f"{machine['device']} {machine['model']}, {machine['threads']} threads, {conditions_in(self.conditions).in_words}"
        )


def setups(reading: Reading) -> list[Setup]:
    """Every machine and way of measuring in the record, the one that was used last at the end."""
    by_setup: dict[str, list[Addition]] = {}
    for each in reading.additions:
        if each.kind == LATENCY:
            by_setup.setdefault(each.which, []).append(each)
    measured = [_setup(which, several) for which, several in by_setup.items()]
    return sorted(measured, key=lambda setup: (setup.measured, setup.which))


def _setup(which: str, several: list[Addition]) -> Setup:
    last = max((each.value for each in several), key=lambda value: value["measured"])
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


def on_devices(reading: Reading) -> dict[str, dict[int, float]]:
    """By the name of each cost that a device file foretells, the milliseconds of the trials that were measured by that file."""
    return {
        name: {each.trial: float(each.value["latency_ms"]) for each in reading.additions if each.which == file.key}
        for name, file in reading.search.foretold.items()
    }


def above_limits(trials: pd.DataFrame, search: Search) -> dict[str, list[int]]:
    """By the name of each device's cost the trials, baselines aside, that were measured to take longer than their limit."""
    own = trials[trials["baseline"].isna()]
    limits = {name: search.constraints.limits[name].max for name in search.foretold if name in search.constraints.limits}
    above = {name: own.loc[own[measured_as(name)] > most, "trial"] for name, most in limits.items() if most is not None}
    return {name: sorted(map(int, numbers)) for name, numbers in above.items() if len(numbers)}


def _of(reading: Reading, setup: Setup) -> Iterator[tuple[int, float]]:
    for each in reading.additions:
        if each.kind == LATENCY and each.which == setup.which:
            yield each.trial, float(each.value["latency_ms"])
