"""A run's networks measured on the device whose file foretold them, until the front holds none whose time is not known."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from nas.devices.device_file import DeviceFile
from nas.devices.measuring import Times, check_same_machine, differences, times_of
from nas.devices.rounds import Budget, OnRound
from nas.errors import NasError
from nas.report.devices import peak_in_words
from nas.results.columns import axis_label
from nas.results.front import joined
from nas.results.points import candidates, require_finished
from nas.results.standing import Standing, standing
from nas.run.additions import LATENCY, Addition, adding
from nas.run.reading import Reading, read
from nas.run.settings.search import Search
from nas.space.architecture import Architecture
from nas.space.costs import Foretold, on_device
from nas.terminal import Terminal, command
from nas.units import percent

ANCHORS = 6  # of the file's own networks measured beside a run's: what the machine's speed is today
SECONDS = 180.0  # that a group of networks is measured for at most
REPLACEMENTS = 6  # times that networks are measured in the place of those which took longer than their limit


class Taken(NamedTuple):
    """A trial's network: what was foretold of it, what was measured, and the limit that it was to meet."""

    trial: int
    foretold: Foretold
    ms: float
    limit: float | None
    row: pd.Series
    peak_bytes: int | None = None
    """Working memory of a batch at its widest, weights aside; None where the runtime does not tell."""

    @property
    def is_above(self) -> bool:
        """Whether it takes longer than its limit allows."""
        return self.limit is not None and self.ms > self.limit


def measure_devices(search: Search, *, root: Path, console: Console) -> None:
    """At the end of a search: its front on each of its devices that is this machine; of the others, how to do it there."""
    for name, file in search.devices.items():
        others = differences(file)
        if others:
            line = f"device {name} is not this one ({'; '.join(others)}), so the front was not measured on it. There: "
            console.print(f"{line}{command('latency', root, '--device-file', f'{name}.json')}", soft_wrap=True)
            continue
        try:
            measure_front(read(root, search), file, console, name=name)
        except NasError as error:
            console.print(f"device {name}: the front was not measured: {error}", soft_wrap=True)


def measure_front(reading: Reading, file: DeviceFile, console: Console, *, name: str, most: int | None = None) -> list[Taken]:
    """Measure the front of a run, what is tied with it and the baselines into the record, and print foretold beside measured.

    Where a limit is broken by what was measured, the front without that network is measured again. NasError where the file is
    of another machine. `most` limits how many networks are measured in all.
    """
    check_same_machine(file, where=name)
    require_finished(joined([reading]), (reading.folder.root,))
    for _ in range(REPLACEMENTS):
        numbers = _unmeasured(reading, file)[: most if most is None else max(0, most - len(_measured(reading, file)))]
        if not numbers:
            break
        _add(reading, file, numbers, console)
        reading = read(reading.folder.root, reading.search)
    taken = _taken(reading, file, name)
    show_taken(taken, console, name=name)
    return taken


def name_of(file: DeviceFile, search: Search, path: Path) -> str:
    """What a search calls a device file; the file's own name where it does not have it."""
    return next((name for name, other in search.devices.items() if other.key == file.key), path.stem)


def _measured(reading: Reading, file: DeviceFile) -> dict[int, dict[str, Any]]:
    """What was put down of each trial that was measured by the file."""
    return {each.trial: each.value for each in reading.additions if each.which == file.key}


def _unmeasured(reading: Reading, file: DeviceFile) -> list[int]:
    """The trials of the front, those tied with it and the baselines that were not measured by this file, in that order."""
    trials = joined([reading])
    ranked = _ranked(trials, reading.search.objectives[1:])
    rows = pd.concat([ranked.best, trials[trials["baseline"].notna() & trials["accuracy"].notna()], ranked.open])
    done = _measured(reading, file)
    return [number for number in dict.fromkeys(map(int, rows["trial"])) if number not in done]


def _ranked(trials: pd.DataFrame, costs: tuple[str, ...]) -> Standing:
    """The standing of a run; of one where nothing keeps its limits, an empty one."""
    if len(candidates(trials, "expected", *costs)):
        return standing(trials, costs)
    return Standing(trials, costs, trials.iloc[:0], trials.iloc[:0], None)


def _add(reading: Reading, file: DeviceFile, numbers: list[int], console: Console) -> None:
    """Measure trials beside some of the file's own networks, and put their times into the record as of the file's own day."""
    anchors = [n for n in sorted(file.networks, key=lambda n: n.latency_ms)][:: max(1, len(file.networks) // ANCHORS)]
    own = [reading.record(number).architecture for number in numbers]
    with Terminal(stderr=True).status(f"measuring {len(own)} networks") as status:
        on_round: OnRound = lambda done, left: status.update(f"measuring {len(own)} networks: round {done}")  # noqa: E731
        times = _times([*own, *(anchor.architecture for anchor in anchors)], file, on_round)
    speed = float(np.median([a.latency_ms / t.timed.ms for a, t in zip(anchors, times[len(own) :], strict=True)]))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    setup = {"conditions": file.conditions.model_dump(), "machine": file.machine, "measured": now, "anchor": None}
    with adding(reading.search, reading.folder, on_wait=console.print) as add:
        for number, each in zip(numbers, times, strict=False):
            ms, low, high = (round(speed * value, 4) for value in each.timed[:3])
            facts = {"latency_ms": ms, "quartiles_ms": [low, high], "speed": round(speed, 4), "peak_bytes": each.peak_bytes}
            add(Addition(LATENCY, number, file.key, {**facts, **setup}))


def _times(architectures: Sequence[Architecture], file: DeviceFile, on_round: OnRound) -> list[Times]:
    budget = Budget(seconds=SECONDS)
    return times_of(architectures, file.conditions, num_classes=file.num_classes, budget=budget, on_round=on_round)


def _taken(reading: Reading, file: DeviceFile, name: str) -> list[Taken]:
    """Every trial that was measured by the file, the fastest first."""
    trials, done = joined([reading]), _measured(reading, file)
    cost, limits = on_device("latency_ms", name), reading.search.constraints.limits
    limit = limits[cost].max if cost in limits else None
    taken = []
    for _, row in trials[trials["trial"].isin(list(done))].iterrows():
        number = int(row["trial"])
        foretold = file.estimate(reading.record(number).architecture, name=cost)
        taken.append(Taken(number, foretold, done[number]["latency_ms"], limit, row, done[number].get("peak_bytes")))
    return sorted(taken, key=lambda each: each.ms)


def show_taken(taken: list[Taken], console: Console, *, name: str) -> None:
    """Foretold beside measured, and which networks take longer than they may."""
    title = f"{axis_label(on_device('latency_ms', name))}, and measured"
    table = Table(title=title, box=None, pad_edge=False, title_justify="left")
    has_peaks = any(each.peak_bytes is not None for each in taken)
    for heading in ("trial", "accuracy", "foretold", "90 % interval", "measured", *(["peak memory"] if has_peaks else [])):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("")
    for number, foretold, ms, _, row, peak in taken:
        interval = f"{foretold.low:.2f} to {foretold.high:.2f}"
        cells = [f"{foretold.value:.2f}", interval, f"{ms:.2f}", *([peak_in_words(peak)] if has_peaks else [])]
        table.add_row(str(number), percent(row["accuracy"]), *cells, row["baseline"])
    console.print(table)
    errors = [abs(each.foretold.value / each.ms - 1) for each in taken]
    line = f"median difference of foretold and measured: {np.median(errors):.1%}"
    searched = [each for each in taken if not isinstance(each.row["baseline"], str)]
    if above := [str(each.trial) for each in searched if each.is_above]:
        line += f"; above their limit, and so not on the front: {', '.join(above)}"
    elif searched and searched[0].limit is not None:
        line += f"; all {len(searched)} networks of the search keep their limit"
    console.print(line, soft_wrap=True)
