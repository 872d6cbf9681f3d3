"""Runs side by side: whether they can be compared, whose front is larger, and what the others took to get there."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from scipy.special import stdtrit

from nas.errors import NasError
from nas.pareto import hypervolume_of, pareto
from nas.report.pictures import draw_fronts
from nas.results.columns import axis_label
from nas.results.comparable import differences_that_matter, marks, refuse
from nas.results.course import scaled, trainings_ended, volumes
from nas.results.front import front, joined
from nas.results.points import names_of, require_finished
from nas.results.standing import Standing, standing
from nas.run.folder import plain_search
from nas.run.front import reference_costs
from nas.run.reading import Reading, read
from nas.run.settings.search import Search
from nas.units import count, duration, percent

REDRAWN = 500
MAY_DIFFER = {
    "search": (
        *("seed", "proposal_seed", "split_seed", "training_seed"),
        *("storage", "log", "max_hours", "max_gpu_hours", "replicates"),
    ),
    "proxy": ("data",),  # its manifest says which
}
"""Settings in which two runs of one search may differ: seeds, places, and what is trained after it."""


class Compared(NamedTuple):
    """One of the compared runs."""

    name: str
    search: str
    """The settings without seeds, so that runs of one search with other seeds have the same."""
    ranked: Standing
    course: pd.DataFrame
    volume: float
    low: float
    high: float


def compared(roots: tuple[Path, ...], *, seed: int = 0) -> tuple[list[Compared], list[str]]:
    """Runs with the hypervolume of their fronts, its 95 % bootstrap interval, and what is to be kept in mind of them."""
    if len({root.resolve() for root in roots}) < len(roots):
        raise NasError(f"{names_of(roots)}: a run must be compared with others, not with itself. Name each once.")
    readings = [read(root) for root in roots]
    remarks: list[str] = []
    for other in readings[1:]:
        differences = differences_that_matter(readings[0], other)
        refuse(readings[0], other, differences)
        remarks += marks(differences)
    tables = [_as_searched(r) for r in readings]
    for trials, root in zip(tables, roots, strict=True):
        require_finished(trials, (root,))
    reference = [max(values) for values in zip(*(reference_costs(r.search) for r in readings), strict=True)]
    names = [root.resolve().name for root in roots]
    if len(set(names)) < len(names):
        names = [str(root) for root in roots]
    runs = [_compared(n, t, r, reference, seed) for n, t, r in zip(names, tables, readings, strict=True)]
    return runs, list(dict.fromkeys(remarks))


def _as_searched(reading: Reading) -> pd.DataFrame:
    """The table with what the search itself saw: a mean over further seeds is no rival of a single lucky accuracy."""
    return joined([reading._replace(additions=[])])


def _compared(name: str, trials: pd.DataFrame, reading: Reading, reference: list[float], seed: int) -> Compared:
    search, costs = reading.search, reading.search.objectives[1:]
    course = volumes(trials, costs, reference)
    low, high = np.quantile(_resampled(trials, search, reference, seed), (0.025, 0.975))
    volume = float(course["hypervolume"].iloc[-1])
    return Compared(name, _without_seeds(search), standing(trials, costs), course, volume, float(low), max(float(high), volume))


def _without_seeds(search: Search) -> str:
    """What must be equal for two runs to be the same search with other seeds."""
    plain = {key: value for key, value in plain_search(search).items() if key not in ("name", "resources", "calibration")}
    for section, names in MAY_DIFFER.items():
        plain[section] = {key: value for key, value in plain[section].items() if key not in names}
    return json.dumps(plain)


def _resampled(trials: pd.DataFrame, search: Search, reference: list[float], seed: int) -> list[float]:
    """The hypervolumes of as many trainings drawn with replacement, those without a result included.

    None exceeds the run's own, so they say how far it rests on a few lucky trainings, not what more of them would bring.
    """
    points, whole = scaled(trainings_ended(trials), search.objectives[1:], reference)
    rng, ones = np.random.default_rng(seed), [1.0] * points.shape[1]
    volumes_drawn = []
    for _ in range(REDRAWN):
        drawn = np.unique(rng.integers(len(points), size=len(points)))
        kept = points[drawn[whole[drawn]]]
        volumes_drawn.append(hypervolume_of(kept[pareto(kept)], ones))
    return volumes_drawn


def reached(course: pd.DataFrame, volume: float) -> pd.Series | None:
    """The first row of a course at which a hypervolume was reached; None if it never was."""
    able = course[course["hypervolume"] >= volume - 1e-12]
    return able.iloc[0] if len(able) else None


def show_comparison(roots: tuple[Path, ...], console: Console, *, picture: Path | None = None) -> None:
    """Print the runs' standing, the share of the joint front that each holds, and what the smallest hypervolume cost each.

    `picture` is a PNG file to draw the fronts into.
    """
    runs, remarks = compared(roots)
    if picture is not None and picture.suffix != ".png":
        raise NasError(f"{picture}: must end in .png, but ends in {picture.suffix!r}. Give a name such as fronts.png.")
    console.print(_table(runs))
    for line in [*_verdict(runs), *remarks]:
        console.print(line, soft_wrap=True)
    if picture is not None:
        draw_fronts({run.name: run.ranked for run in runs}, picture)
        console.print(f"the fronts are drawn in {picture}", soft_wrap=True)


def _table(runs: list[Compared]) -> Table:
    """A column a run, so that names stay whole in a narrow terminal."""
    output = Table(box=None, pad_edge=False, header_style="bold")
    output.add_column("", no_wrap=True)
    costs = runs[0].ranked.costs
    together = pd.concat([run.ranked.trials.assign(run=i) for i, run in enumerate(runs)], ignore_index=True)
    joint = front(together, costs[0], "expected", *costs[1:])
    cells = []
    for i, s in enumerate(runs):
        output.add_column(s.name, justify="right", overflow="fold")
        best = s.ranked.best
        cells.append(
            {
                "trainings": str(len(s.course)),
                "time": duration(s.course["seconds"].iloc[-1]),
                "best accuracy": percent(best["accuracy"].max()),
                "on its front": str(len(best)),
                "on the joint front": f"{(joint['run'] == i).sum()} of {len(joint)}",
                "hypervolume": f"{s.volume:.4f}",
                "drawn again, 95 %": f"{s.low:.4f} to {s.high:.4f}",
            }
        )
    for name in cells[0]:
        output.add_row(name, *(column[name] for column in cells))
    return output


def _verdict(runs: list[Compared]) -> list[str]:
    searches: dict[str, list[Compared]] = {}
    for run in runs:
        searches.setdefault(run.search, []).append(run)
    lines = _of_two_runs(*runs) if len(runs) == 2 else []
    if len(searches) == 2:
        lines.append(_of_searches(*searches.values()))
    elif len(searches) > 2:
        lines.append(
            f"These are {len(searches)} different searches: compare two of them at a time to tell their seeds from them."
        )
    elif len(searches) == 1:
        lines.append(f"All are one search with other seeds: hypervolume {_spread([run.volume for run in runs])}.")
    lines.append(
        "drawn again: the same trainings with replacement, so how far it rests on a few of them; neither the noise of each "
        "accuracy nor that between two runs of one search is in it."
    )
    lowest = min(run.volume for run in runs)
    for run in runs:
        row = reached(run.course, lowest)
        assert row is not None, "all reached the lowest of their volumes"
        after = f"{_trainings(row)}, {duration(row['seconds'])}"
        lines.append(f"hypervolume {lowest:.4f}, the least of these, was reached by {run.name} after {after}.")
    cost, fronts = runs[0].ranked.costs[0], [run.ranked.best for run in runs]
    limit = min(best[cost].max() for best in fronts)
    shown = [f"{s.name} {_best(b[b[cost] <= limit])}" for s, b in zip(runs, fronts, strict=True)]
    lines.append(f"best accuracy up to {count(limit)} {axis_label(cost)}: {', '.join(shown)}.")
    lines.append("each network counts by the accuracy that its search saw; replicates are left out.")
    return lines


def _best(able: pd.DataFrame) -> str:
    return percent(able["accuracy"].max()) if len(able) else "has none that cheap"


def _of_two_runs(one: Compared, other: Compared) -> list[str]:
    lower, upper = sorted((one, other), key=lambda run: run.volume)
    return [f"hypervolume: {upper.name} is ahead of {lower.name} by {upper.volume - lower.volume:.4f}."]


def _of_searches(one: list[Compared], other: list[Compared]) -> str:
    """Whether one search is better than the other, as far as their seeds can tell. Welch's interval (Biometrika 34, 1947)."""
    if min(len(one), len(other)) < 2:
        return (
            "That is what these runs found, and no verdict on their searches: another seed of the same search may lie as far "
            "away. Give several seeds of each (nas compare takes any number of runs; --set search.split_seed keeps the images)."
        )
    volumes_of = [np.array([run.volume for run in runs]) for runs in (one, other)]
    gap = float(volumes_of[0].mean() - volumes_of[1].mean())
    first, second = (float(values.var(ddof=1)) / len(values) for values in volumes_of)
    error = np.sqrt(first + second)
    freedom = (first + second) ** 2 / max(first**2 / (len(one) - 1) + second**2 / (len(other) - 1), 1e-300)
    half = float(stdtrit(max(freedom, 1.0), 0.975)) * error
    names = [" and ".join(run.name for run in runs) for runs in (one, other)]
    word = "the searches differ" if abs(gap) > half else "no difference is shown, seeds alone could bring that"
    return (
        f"mean hypervolume of {names[0]} minus that of {names[1]}: {gap:+.4f}, 95 % interval {gap - half:+.4f} to "
        f"{gap + half:+.4f}: {word}."
    )


def _spread(values: list[float]) -> str:
    return f"{np.mean(values):.4f} on average, {min(values):.4f} to {max(values):.4f}"


def _trainings(row: pd.Series) -> str:
    number = int(row["trainings"])
    return f"{number} training{'s' if number > 1 else ''}"
