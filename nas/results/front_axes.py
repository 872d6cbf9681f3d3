"""The axes that a front is drawn on, the same on the page and in the picture."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from nas.results.labelling import places

MARGIN = 0.06  # of an axis beyond its outermost points
WIDE = 8  # largest over smallest cost from which the axis is logarithmic


class Axes(NamedTuple):
    """Ends of both axes: the cost, and accuracy in percent."""

    x: tuple[float, float]
    y: tuple[float, float]
    logarithmic: bool


def front_axes(done: pd.DataFrame, best: pd.DataFrame, cost: str) -> Axes:
    """Axes that hold every whole training and the intervals of the front."""
    costs = done[cost].dropna()
    logarithmic = bool(len(costs)) and costs.min() > 0 and costs.max() / costs.min() >= WIDE
    x = _span(np.log10(costs)) if logarithmic else _span(costs)
    accuracies = pd.concat([done["accuracy"], best["accuracy_low"], best["accuracy_high"]])
    return Axes(tuple(10**v for v in x) if logarithmic else x, _span(100 * accuracies), logarithmic)


def _span(values: pd.Series) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    margin = MARGIN * (high - low) or abs(high) * MARGIN or 1.0
    return low - margin, high + margin


def baseline_places(baselines: pd.DataFrame, cost: str, axes: Axes) -> list[str]:
    """At which side of its point each baseline's name stands."""
    scale = np.log10 if axes.logarithmic else np.asarray
    (left, right), (low, high) = scale(np.asarray(axes.x)), axes.y
    across = (scale(baselines[cost].to_numpy(float)) - left) / (right - left)
    up = (100 * baselines["accuracy"].to_numpy(float) - low) / (high - low)
    return places(list(zip(across, up, strict=True)), list(baselines["baseline"]))
