"""The report's pictures as PNG files."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nas.files import replacing
from nas.results.front import COST_LABELS
from nas.results.listing import Standing

BLUE, ORANGE, DARK_ORANGE, GREY, PINK, GREEN = "#0072b2", "#d55e00", "#a34700", "#9aa5b1", "#cc79a7", "#009e73"  # Okabe and Ito


def _plot(width: float = 8, height: float = 5) -> tuple[Any, Any]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.grid(color="#e4e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def draw_front(found: Standing, path: Path) -> None:
    """Accuracy against the first cost: every whole training, the front as a line, the baselines by name."""
    from matplotlib.ticker import EngFormatter

    trials, best, cost = found.trials, found.best, found.costs[0]
    figure, axes = _plot()
    done = trials[trials["state"] == "complete"]
    baselines = done[done["baseline"].notna()]
    others = done[done["baseline"].isna()]
    axes.scatter(others[cost], 100 * others["accuracy"], s=22, color=GREY, label="searched", zorder=2)
    axes.step(best[cost], 100 * best["accuracy"], where="post", color=BLUE, linewidth=1.4, zorder=3)
    axes.scatter(best[cost], 100 * best["accuracy"], s=34, color=BLUE, label="front", zorder=4)
    look = {"marker": "D", "facecolor": "white", "edgecolor": ORANGE, "linewidth": 1.6, "s": 60, "zorder": 5}
    if len(baselines):
        axes.scatter(baselines[cost], 100 * baselines["accuracy"], label="baseline", **look)
    for name, x, y in zip(baselines["baseline"], baselines[cost], 100 * baselines["accuracy"], strict=True):
        axes.annotate(name, (x, y), xytext=(0, 8), ha="center", textcoords="offset points", fontsize=8, color=DARK_ORANGE)
    run = trials["run"].iloc[0] if trials["run"].nunique() == 1 else f"{trials['run'].nunique()} runs"
    axes.set(xlabel=COST_LABELS.get(cost, cost), ylabel="proxy accuracy (%)", title=f"{run}: {len(done)} trained architectures")
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.margins(0.06)
    axes.legend(frameon=False, loc="lower right")
    _save(figure, path)


def draw_course(courses: dict[str, pd.DataFrame], path: Path) -> None:
    """Hypervolume against trainings, one step line a run."""
    figure, axes = _plot()
    styles = [(BLUE, "-"), (ORANGE, "--"), (GREEN, ":"), (PINK, "-.")]
    for (name, course), (colour, style) in zip(courses.items(), styles * len(courses), strict=False):
        axes.step(
            course["trainings"], course["hypervolume"], where="post", color=colour, linestyle=style, linewidth=1.8, label=name
        )
    axes.set(xlabel="trainings ended", ylabel="hypervolume", title="what each training brought")
    if len(courses) > 1:
        axes.legend(frameon=False, loc="lower right")
    _save(figure, path)


def draw_importance(found: pd.DataFrame, path: Path) -> None:
    """A bar an axis, and where chance alone would bring it."""
    top = found.head(15).iloc[::-1]
    figure, axes = _plot(8, 1.4 + 0.28 * len(top))
    axes.barh(top["axis"], 100 * top["share"], color=BLUE, label="share")
    axes.scatter(100 * top["chance"], top["axis"], marker="|", s=160, color=ORANGE, linewidth=2.4, label="chance alone (95 %)")
    axes.set(xlabel="share of what makes the best quarter at equal MACs (%)", title="which choices matter")
    axes.legend(frameon=False, loc="lower right")
    _save(figure, path)


def draw_mixers(found: pd.DataFrame, path: Path) -> None:
    """A heat map of the points of accuracy above equal MACs, by mixer and stage."""
    grid = 100 * found.pivot(index="mixer", columns="stage", values="effect")
    figure, axes = _plot(8, 1.6 + 0.5 * len(grid))
    most = float(np.nanmax(np.abs(grid.to_numpy())))
    shown = axes.imshow(grid.to_numpy(), cmap="PuOr", vmin=-most, vmax=most, aspect="auto")
    axes.set_xticks(range(grid.shape[1]), [f"stage {s}" for s in grid.columns])
    axes.set_yticks(range(len(grid)), list(grid.index))
    axes.grid(visible=False)
    for (i, j), value in np.ndenumerate(grid.to_numpy()):
        if not np.isnan(value):
            axes.text(j, i, f"{value:+.1f}", ha="center", va="center", color="white" if abs(value) > 0.65 * most else "black")
    axes.set_title("points of accuracy above equal MACs, by mixer and stage")
    figure.colorbar(shown, ax=axes, label="points")
    _save(figure, path)
