"""The searches as a picture: hypervolume against what was spent and against whole trainings, a column a table."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import pandas as pd

matplotlib.use("Agg")
import matplotlib.pyplot as plt

OURS = {"front": "#0072b2", "front-rungs": "#d55e00"}
PEERS = plt.get_cmap("tab20").colors
AXES = {"cost": "full trainings spent", "trained": "whole trainings"}
LOWEST = 0.7  # of the hypervolume that is shown


def draw(rows: pd.DataFrame, marks: Sequence[int], path: Path) -> None:
    """Mean over the seeds as lines, one standard error either side as bands."""
    tables, names = list(dict.fromkeys(rows.table)), list(dict.fromkeys(rows.searcher))
    peers = {name: PEERS[i % len(PEERS)] for i, name in enumerate(n for n in names if n not in OURS)}
    figure, grid = plt.subplots(
        len(AXES), len(tables), figsize=(4.2 * len(tables), 7.4), dpi=120, squeeze=False, sharey=True, layout="constrained"
    )
    for axes_row, (what, label) in zip(grid, AXES.items(), strict=True):
        for axes, table in zip(axes_row, tables, strict=True):
            _draw_one(axes, rows[rows.table == table], what, marks, {**peers, **OURS})
            axes.set(title=table, xlabel=label, xscale="log", ylim=(LOWEST, 1.005))
            axes.set_xticks([5, 10, 25, 50, 100, 200], ["5", "10", "25", "50", "100", "200"], minor=False)
            axes.minorticks_off()
            axes.grid(color="#e4e7eb", linewidth=0.8)
            axes.spines[["top", "right"]].set_visible(False)
        axes_row[0].set_ylabel("hypervolume, share of the true front's")
    handles = {label: line for axes in grid.flat for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside right upper", frameon=False)
    figure.savefig(path)
    plt.close(figure)


def _draw_one(axes: plt.Axes, rows: pd.DataFrame, what: str, marks: Sequence[int], colours: dict) -> None:
    for name, own in rows.groupby("searcher", sort=False):
        values = own[[f"{what}{m}" for m in marks]]
        mean, error = values.mean().to_numpy(), values.sem().fillna(0).to_numpy()
        width, style = (2.2, "-") if name in OURS else (1.2, "--" if name == "mo-asha" else "-")
        axes.plot(marks, mean, color=colours[name], linewidth=width, linestyle=style, label=name)
        axes.fill_between(marks, mean - error, mean + error, color=colours[name], alpha=0.15, linewidth=0)
