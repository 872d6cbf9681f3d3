"""Which architectures a user means to train in full: a trial, the knee, the front with all that is tied with it, a name."""

from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from nas.errors import ConfigError, NasError
from nas.results.front import joined
from nas.results.points import require_finished
from nas.results.standing import Standing, baselines_off, standing
from nas.run.folder import read_run
from nas.run.reading import Reading, read
from nas.space.architecture import Architecture
from nas.terminal import command
from nas.winners.lookup import architecture_of, run_and_trial


class Chosen(NamedTuple):
    """One of them."""

    name: str
    """As it is called in tables, and as a folder's name."""
    architecture: Architecture
    accuracy: float | None = None
    """In the search, by the proxy; None for what no search trained."""
    macs: int | None = None
    """As the search counts them."""
    costs: tuple[float, ...] = ()
    """What the search weighed against accuracy."""
    is_baseline: bool = False
    origin: dict[str, Any] = {}  # noqa: RUF012 (never written to)
    """Its run and trial; empty for what no search found."""


def selected(target: str, *, trial: int | None, knee: bool, front: bool) -> list[Chosen]:
    """What the command line names; ConfigError where it names two things, NasError where a run has none of it yet."""
    asked = [name for name, is_asked in (("--trial", trial is not None), ("--knee", knee), ("--front", front)) if is_asked]
    if len(asked) > 1:
        raise ConfigError(f"{' and '.join(asked)}: one choice at a time, but got {len(asked)}. Leave all but one out.")
    if front or knee:
        return members(Path(target)) if front else [_knee(Path(target))]
    run, trial = run_and_trial(Path(target), trial)
    if trial is None and (run / "search.yaml").is_file():
        raise ConfigError(f"{target}: is a search's folder. Say which network: {target}:NUMBER, --knee or --front.")
    name = target if trial is None else f"{run}:{trial}"
    origin = {} if trial is None else {"run": read_run(run)[1].name, "trial": trial}
    return [Chosen(Path(name).name, architecture_of(name), origin=origin)]


def the_trial(target: Path, trial: int | None, *, knee: bool) -> tuple[Path, int | None]:
    """A run's folder and the trial that is named, or is its knee; a folder and None where no trial is asked for."""
    run, number = run_and_trial(target, trial)
    if not knee:
        return run, number
    if number is not None:
        raise ConfigError(f"--knee: one choice at a time, but trial {number} is named as well. Leave one out.")
    return run, _knee(run).origin["trial"]


def own_data(target: str) -> str | None:
    """The images of the run that a target is of, which its networks are retrained on unless others are named.

    None where there is no run, or where it searched on the embedded digits, as a search does that is tried out.
    """
    run, _ = run_and_trial(Path(target))
    if not (run / "search.yaml").is_file():
        return None
    data = read_run(run)[1].proxy.data
    return None if data == "digits" else data


def members(run: Path) -> list[Chosen]:
    """All that could be on a run's front within the noise, cheapest first, and then its baselines that are not among them."""
    reading, shown = _standing(run)
    able = pd.concat([shown.best, shown.open]).sort_values([shown.costs[0], "expected"], kind="stable")
    rows = pd.concat([able, baselines_off(shown.trials, able)]).drop_duplicates("key")
    return [_chosen(row, reading) for _, row in rows.iterrows()]


def _knee(run: Path) -> Chosen:
    reading, shown = _standing(run)
    if shown.knee is None:
        raise NasError(
            f"{run}: has no knee: that takes a front of three different networks, one of which lies above the line between the "
            f"ends. Choose one with --trial; see: {command('front', run)}"
        )
    return _chosen(shown.trials.loc[shown.knee], reading)


def _standing(run: Path) -> tuple[Reading, Standing]:
    """A run and its front; NasError where nothing was trained in full."""
    reading = read(run)
    trials = joined([reading])
    require_finished(trials, (run,))
    return reading, standing(trials, reading.search.objectives[1:])


def _chosen(row: pd.Series, reading: Reading) -> Chosen:
    is_baseline = pd.notna(row["baseline"])
    name = str(row["baseline"]) if is_baseline else f"trial_{row['trial']}"
    architecture = reading.record(int(row["trial"])).architecture
    origin = {"run": row["run"], "trial": int(row["trial"])}
    weighed = tuple(float(row[cost]) for cost in reading.search.objectives[1:])
    return Chosen(name, architecture, float(row["accuracy"]), int(row["macs"]), weighed, is_baseline, origin)
