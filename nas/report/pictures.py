"""The report's pictures as PNG files."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nas.colours import BLUE, DARK_ORANGE, GREEN, GREY, ORANGE, PINK, as_drawn
from nas.files import replacing
from nas.report.axes import FrontAxes, baseline_names, baseline_places, front_axes
from nas.results.columns import axis_label
from nas.results.families import family_lines
from nas.results.points import complete
from nas.results.standing import Standing

STYLES = [(BLUE, "-"), (ORANGE, "--"), (GREEN, ":"), (PINK, "-.")]
BESIDE = {
    "top": {"xytext": (0, 8), "ha": "center"},
    "bottom": {"xytext": (0, -15), "ha": "center"},
    "left": {"xytext": (-9, 0), "ha": "right", "va": "center"},
    "right": {"xytext": (9, 0), "ha": "left", "va": "center"},
}


def _plot(width: float = 8, height: float = 5) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # without pyplot, whose backend is the caller's, such as a notebook's

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.grid(color="#e4e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def draw_front(ranked: Standing, path: Path) -> None:
    """Accuracy against the first cost: every whole training, the front as a line, the baselines by name."""
    trials, best, cost = ranked.trials, ranked.best, ranked.costs[0]
    figure, axes = _plot()
    done = complete(trials)
    baselines = done[done["baseline"].notna()]
    others = done[done["baseline"].isna()]
    axes.scatter(others[cost], 100 * others["accuracy"], s=22, color=GREY, label="searched", zorder=2)
    axes.step(best[cost], 100 * best["expected"], where="post", color=BLUE, linewidth=1.4, zorder=3)
    if ranked.is_lucky:
        axes.scatter(best[cost], 100 * best["accuracy"], marker="_", s=50, color=BLUE, label="front, as measured", zorder=4)
    _intervals(axes, best, cost, color=BLUE, fmt="o", label="front")
    look = {"marker": "D", "facecolor": "white", "edgecolor": ORANGE, "linewidth": 1.6, "s": 60, "zorder": 5}
    if len(baselines):
        axes.scatter(baselines[cost], 100 * baselines["accuracy"], label="baseline", **look)
    for line in family_lines(baselines, cost):
        axes.plot(line[cost], 100 * line["accuracy"], color=ORANGE, linewidth=1.2, linestyle=":", zorder=3)
    span = front_axes(done, best, cost)
    _name(axes, baselines, cost, span)
    run = trials["run"].iloc[0] if trials["run"].nunique() == 1 else f"{trials['run'].nunique()} runs"
    axes.set(xlabel=axis_label(cost), ylabel="proxy accuracy (%)", title=f"{as_drawn(run)}: {len(done)} trained architectures")
    _span(axes, span)
    axes.legend(frameon=False, loc="lower right")
    _save(figure, path)


def _intervals(axes: Any, best: pd.DataFrame, cost: str, **look: Any) -> None:
    """A front's points with their 95 % intervals, bare where none is known."""
    spread = 100 * np.abs(best[["accuracy_low", "accuracy_high"]].to_numpy().T - best["expected"].to_numpy())
    bars = None if np.isnan(spread).any() else spread
    axes.errorbar(best[cost], 100 * best["expected"], yerr=bars, markersize=6, linewidth=1, capsize=2, zorder=4, **look)


def _name(axes: Any, baselines: pd.DataFrame, cost: str, span: FrontAxes) -> None:
    """Write each baseline's name beside its point."""
    sides = baseline_places(baselines, cost, span)
    names = baseline_names(baselines, cost)
    for name, side, x, y in zip(names, sides, baselines[cost], 100 * baselines["accuracy"], strict=True):
        look = {"textcoords": "offset points", "fontsize": 8, "color": DARK_ORANGE}
        axes.annotate(name, (x, y), **look, **BESIDE[side])


def _span(axes: Any, span: FrontAxes) -> None:
    """The ends of both axes, and labels with their units."""
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    if span.logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(xlim=span.x, ylim=span.y)
    axes.xaxis.set_major_formatter(EngFormatter())


def draw_fronts(standings: dict[str, Standing], path: Path) -> None:
    """The fronts of several runs over each other, and behind them what each run trained in full."""
    figure, axes = _plot()
    everything = {name: complete(ranked.trials) for name, ranked in standings.items()}
    cost = next(iter(standings.values())).costs[0]
    for (name, ranked), (colour, style), marker in zip(standings.items(), STYLES, "os^D", strict=False):
        done, best = everything[name], ranked.best
        axes.scatter(done[cost], 100 * done["accuracy"], s=14, color=colour, alpha=0.25, linewidth=0, zorder=2, marker=marker)
        axes.step(best[cost], 100 * best["expected"], where="post", color=colour, linestyle=style, linewidth=1.6, zorder=3)
        _intervals(axes, best, cost, color=colour, fmt=marker, label=as_drawn(name))
    best = pd.concat([ranked.best for ranked in standings.values()])
    axes.set(xlabel=axis_label(cost), ylabel="proxy accuracy (%)", title="fronts with 95 % intervals")
    _span(axes, front_axes(pd.concat(everything.values()), best, cost))
    axes.legend(frameon=False, loc="lower right")
    _save(figure, path)


def draw_course(courses: dict[str, pd.DataFrame], path: Path) -> None:
    """Hypervolume against trainings, one step line a run."""
    figure, axes = _plot()
    for (name, course), (colour, style) in zip(courses.items(), STYLES * len(courses), strict=False):
        look = {"color": colour, "linestyle": style, "linewidth": 1.8, "label": as_drawn(name)}
        axes.step(course["trainings"], course["hypervolume"], where="post", **look)
    axes.set(xlabel="trainings ended", ylabel="hypervolume", title="what each training brought")
    if len(courses) > 1:
        axes.legend(frameon=False, loc="lower right")
    _save(figure, path)


def draw_importance(importances: pd.DataFrame, path: Path) -> None:
    """A bar an axis, and how far chance alone would bring the largest of them."""
    top = importances.head(15).iloc[::-1]
    figure, axes = _plot(8, 1.4 + 0.28 * len(top))
    axes.barh(top["axis"], 100 * top["share"], color=BLUE, label="share")
    axes.axvline(100 * top["chance"].iloc[0], color=ORANGE, linewidth=2, linestyle="--", label="the largest by chance (95 %)")
    axes.set(xlabel="share of what makes the best quarter at equal MACs (%)", title="which choices matter")
    figure.legend(frameon=False, loc="outside lower center", ncols=2)
    _save(figure, path)


def draw_mixers(effects: pd.DataFrame, path: Path) -> None:
    """A heat map of the points of accuracy above equal MACs, by mixer and stage."""
    grid = 100 * effects.pivot(index="mixer", columns="stage", values="effect")
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
