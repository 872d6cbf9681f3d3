"""Two runs side by side: whether they can be compared, whose front is larger, and what the other took to get there."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from nas.errors import NasError
from nas.pareto import hypervolume_of, pareto
from nas.report.pictures import draw_fronts
from nas.results.columns import axis_label
from nas.results.comparable import differences_that_matter, marks, refuse
from nas.results.course import scaled, trainings_ended, volumes
from nas.results.front import front, joined
from nas.results.points import require_finished
from nas.results.standing import Standing, standing
from nas.run.front import reference_costs
from nas.run.reading import read
from nas.run.settings import Search
from nas.units import count, duration, percent

REDRAWN = 500


class Compared(NamedTuple):
    """One of the compared runs."""

    name: str
    ranked: Standing
    course: pd.DataFrame
    volume: float
    low: float
    high: float


def compared(roots: tuple[Path, Path], *, seed: int = 0) -> tuple[list[Compared], dict[str, tuple[Any, Any]]]:
    """Both runs with the hypervolume of their fronts, its 95 % bootstrap interval, and the differences to keep in mind."""
    readings = one, other = read(roots[0]), read(roots[1])
    differences = differences_that_matter(one, other)
    refuse(one, other, differences)
    tables = [_as_searched(joined([r])) for r in readings]
    for trials, root in zip(tables, roots, strict=True):
        require_finished(trials, (root,))
    search = readings[0].search
    reference = [max(values) for values in zip(*(reference_costs(r.search) for r in readings), strict=True)]
    names = [root.resolve().name for root in roots]
    if names[0] == names[1]:
        names = [str(root) for root in roots]
    runs = [_compared(n, t, search, reference, seed) for n, t in zip(names, tables, strict=True)]
    return runs, differences


def _as_searched(trials: pd.DataFrame) -> pd.DataFrame:
    """The table with the accuracies that the search itself saw: a mean over further seeds is no rival of a single lucky one."""
    return trials.assign(accuracy=trials["accuracy_first"])


def _compared(name: str, trials: pd.DataFrame, search: Search, reference: list[float], seed: int) -> Compared:
    costs = search.objectives[1:]
    course = volumes(trials, costs, reference)
    low, high = np.quantile(_resampled(trials, search, reference, seed), (0.025, 0.975))
    volume = float(course["hypervolume"].iloc[-1])
    return Compared(name, standing(trials, costs), course, volume, float(low), max(float(high), volume))


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


def show_comparison(roots: tuple[Path, Path], console: Console, *, picture: Path | None = None) -> None:
    """Print both runs' standing, the share of the joint front that each holds, and what the smaller hypervolume cost either.

    `picture` is a PNG file to draw both fronts into.
    """
    runs, differences = compared(roots)
    if picture is not None and picture.suffix != ".png":
        raise NasError(f"{picture}: must end in .png, but ends in {picture.suffix!r}. Give a name such as fronts.png.")
    console.print(_table(runs))
    for line in [*_verdict(runs), *marks(differences)]:
        console.print(line, soft_wrap=True)
    if picture is not None:
        draw_fronts({run.name: run.ranked for run in runs}, picture)
        console.print(f"both fronts are drawn in {picture}", soft_wrap=True)


def _table(runs: list[Compared]) -> Table:
    """A column a run, so that names stay whole in a narrow terminal."""
    output = Table(box=None, pad_edge=False, header_style="bold")
    output.add_column("", no_wrap=True)
    costs = runs[0].ranked.costs
    together = pd.concat([run.ranked.trials.assign(run=i) for i, run in enumerate(runs)], ignore_index=True)
    joint = front(together, costs[0], "accuracy", *costs[1:])
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
    lower, upper = sorted(runs, key=lambda s: s.volume)
    overlap = upper.low <= lower.high
    word = "the intervals overlap, so call it a tie" if overlap else "the intervals do not overlap"
    lines = [
        f"hypervolume: {upper.name} is ahead of {lower.name} by {upper.volume - lower.volume:.4f}; {word}.",
        "drawn again: the same trainings with replacement, so how far it rests on a few of them; the noise of each accuracy is "
        "not in it.",
    ]
    for s in (lower, upper):
        row = reached(s.course, lower.volume)
        assert row is not None, "both reached the lower of their volumes"
        lines.append(f"{lower.volume:.4f} was reached by {s.name} after {_trainings(row)}, {duration(row['seconds'])}.")
    cost, fronts = runs[0].ranked.costs[0], [run.ranked.best for run in runs]
    limit = min(best[cost].max() for best in fronts)
    shown = [f"{s.name} {percent(b[b[cost] <= limit]['accuracy'].max())}" for s, b in zip(runs, fronts, strict=True)]
    lines.append(f"best accuracy up to {count(limit)} {axis_label(cost)}: {', '.join(shown)}.")
    if any(run.ranked.trials["replicates"].any() for run in runs):
        lines.append("each network counts by the accuracy that its search saw; `nas front` shows the means over further seeds.")
    return lines


def _trainings(row: pd.Series) -> str:
    number = int(row["trainings"])
    return f"{number} training{'s' if number > 1 else ''}"
