"""The axes that a front is drawn on, the same on the page and in the picture."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from nas.results.families import family_lines, family_of

MARGIN = 0.06  # of an axis beyond its outermost points
LOGARITHMIC_FROM = 8  # largest over smallest cost from which the axis is logarithmic
LETTER, LINE = 0.009, 0.05  # width of a letter and height of a line, as shares of a figure
PLACES = ("top", "bottom", "left", "right")


class FrontAxes(NamedTuple):
    """Ends of both axes: the cost, and accuracy in percent."""

    x: tuple[float, float]
    y: tuple[float, float]
    logarithmic: bool


def front_axes(done: pd.DataFrame, best: pd.DataFrame, cost: str) -> FrontAxes:
    """Axes that hold every whole training and the intervals of the front."""
    costs = done[cost].dropna()
    logarithmic = bool(len(costs)) and costs.min() > 0 and costs.max() / costs.min() >= LOGARITHMIC_FROM
    x = _span(np.log10(costs)) if logarithmic else _span(costs)
    accuracies = pd.concat([done["accuracy"], best["accuracy_low"], best["accuracy_high"]])
    ends = (10 ** x[0], 10 ** x[1]) if logarithmic else x
    return FrontAxes(ends, _span(100 * accuracies), logarithmic)


def _span(values: pd.Series) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    margin = MARGIN * (high - low) or abs(high) * MARGIN or 1.0
    return low - margin, high + margin


def baseline_names(baselines: pd.DataFrame, cost: str) -> list[str]:
    """What stands beside each baseline: its name; of a family's line its dearest member alone, under the family's name."""
    names = dict(baselines["baseline"])
    for line in family_lines(baselines, cost):
        names |= dict.fromkeys(line.index, "") | {line.index[-1]: family_of(names[line.index[-1]])}
    return list(names.values())


def baseline_places(baselines: pd.DataFrame, cost: str, axes: FrontAxes) -> list[str]:
    """At which side of its point each baseline's name stands."""
    scale = np.log10 if axes.logarithmic else np.asarray
    (left, right), (low, high) = scale(np.asarray(axes.x)), axes.y
    across = (scale(baselines[cost].to_numpy(float)) - left) / (right - left)
    up = (100 * baselines["accuracy"].to_numpy(float) - low) / (high - low)
    return places(list(zip(across, up, strict=True)), baseline_names(baselines, cost))


def places(points: Sequence[tuple[float, float]], names: Sequence[str]) -> list[str]:
    """For each name the side of its point, of PLACES, at which it covers no earlier name and stays inside the figure.

    `points` are shares of the figure's width and height; where every side is taken, it is the first.
    """
    taken: list[tuple[float, float, float, float]] = []
    chosen = []
    for point, name in zip(points, names, strict=True):
        if not name:
            chosen.append(PLACES[0])
            continue
        boxes = {place: _box(point, name, place) for place in PLACES}
        free = [place for place, box in boxes.items() if _inside(box) and not any(_overlap(box, other) for other in taken)]
        chosen.append((free or PLACES)[0])
        taken.append(boxes[chosen[-1]])
    return chosen


def _box(point: tuple[float, float], name: str, place: str) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of a name at a side of its point."""
    x, y = point
    width = LETTER * len(name)
    if place in ("left", "right"):
        left = x - width - 2 * LETTER if place == "left" else x + 2 * LETTER
        return left, left + width, y - LINE / 2, y + LINE / 2
    bottom = y + LINE / 2 if place == "top" else y - 1.5 * LINE
    return x - width / 2, x + width / 2, bottom, bottom + LINE


def _inside(box: tuple[float, float, float, float]) -> bool:
    return box[0] >= 0 and box[1] <= 1 and box[2] >= 0 and box[3] <= 1


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[1] and other[0] < one[1] and one[2] < other[3] and other[2] < one[3]
