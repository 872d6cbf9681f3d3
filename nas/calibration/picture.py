"""A calibration as a picture: how well each fidelity ranks, against what a training of it takes."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nas.calibration.analysis import FLOORS, Analysis
from nas.colours import BLUE, GREEN, ORANGE, PINK
from nas.files import replacing


def draw(analysis: Analysis, path: Path, *, title: str) -> None:
    """Kendall tau with its interval against seconds a training; floors and ceiling as lines."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    axes = figure.subplots()
    shown = analysis.fidelities[analysis.fidelities.tau_trained.notna() & analysis.fidelities.seconds.notna()]
    _draw_fidelities(axes, shown[~shown.is_reference])
    for _, row in shown[shown.is_reference].iterrows():
        if analysis.seeds > 1:
            axes.axhline(
                row.tau_trained, color=GREEN, linewidth=1.2, label=f"{row.fidelity} with itself, other seeds (ceiling)"
            )
    for (c, label), (style, color) in zip(FLOORS.items(), (("--", ORANGE), (":", PINK)), strict=True):
        floor = analysis.floors[c]["tau_trained"]
        axes.axhline(floor.value, color=color, linestyle=style, linewidth=1.6, label=f"{label}: {floor}")
    axes.set(xlabel="seconds a training", ylabel=f"Kendall tau to {analysis.against}, 95 % interval", title=title)
    axes.margins(x=0.12, y=0.1)
    axes.grid(color="#e4e7eb", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    if not shown.is_reference.all():
        _plain_seconds(axes)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def _draw_fidelities(axes: Any, rows: pd.DataFrame) -> None:
    spread = np.abs(rows[["tau_trained_low", "tau_trained_high"]].to_numpy().T - rows.tau_trained.to_numpy())
    look = {"fmt": "o", "color": BLUE, "capsize": 3, "markersize": 6, "zorder": 3, "label": "fidelity"}
    axes.errorbar(rows.seconds, rows.tau_trained, yerr=spread, **look)
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1}
    for _, row in rows.iterrows():
        at = row.seconds, row.tau_trained
        axes.annotate(row.fidelity, at, xytext=(8, 6), textcoords="offset points", color=BLUE, fontsize=9, bbox=box, zorder=4)


def _plain_seconds(axes: Any) -> None:
    """A logarithmic axis with 1, 2, 5, 10, ... instead of powers of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
