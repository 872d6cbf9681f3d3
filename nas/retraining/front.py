"""A front held to account: its networks' accuracies after full training beside the proxy's, and how far the rankings agree."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from nas.calibration.ranking import FEWEST_RANKED, Estimate, estimate, kendall, resamples, spearman
from nas.colours import BLUE, DARK_ORANGE, GREY
from nas.files import replacing, write_whole
from nas.pareto import pareto
from nas.retraining.folder import Result
from nas.space.mixers import legend
from nas.spreadsheets import as_cells
from nas.units import count, percent
from nas.winners.selection import Chosen

RETRAINED_COLUMNS = [
    "name", "baseline", "macs", "proxy_accuracy", "accuracy", "top5", "proxy_front", "front", "seconds", "cause", "stages",
]  # fmt: skip


class Agreement(NamedTuple):
    """How far the ranking by the proxy agrees with that after full training."""

    kendall: Estimate
    spearman: Estimate
    number: int
    """Networks that have both accuracies."""

    def __str__(self) -> str:
        if self.number < FEWEST_RANKED:
            return f"rank correlation of proxy and full training: none, with {self.number} networks (from {FEWEST_RANKED})"
        return (
            f"rank correlation of proxy and full training over {self.number} networks, with 95 % bootstrap intervals: "
            f"Kendall's tau {self.kendall}, Spearman's rho {self.spearman}"
        )


def retrained_table(members: list[Chosen], outcomes: dict[str, Result | str]) -> pd.DataFrame:
    """A row for each member, cheapest first; `outcomes` holds the result by name, or why there is none."""
    costs = {member.name: member.costs for member in members}
    networks = pd.DataFrame([_row(member, outcomes.get(member.name)) for member in members])
    networks = networks.sort_values(["macs", "proxy_accuracy"], kind="stable", ignore_index=True)
    for column, accuracy in (("proxy_front", "proxy_accuracy"), ("front", "accuracy")):
        measured = networks[networks[accuracy].notna()]
        points = [[*costs[name], -value] for name, value in zip(measured["name"], measured[accuracy], strict=True)]
        best = measured.index[pareto(points)] if len(measured) else measured.index
        networks[column] = networks.index.isin(best)
    return networks[RETRAINED_COLUMNS]


def _row(member: Chosen, outcome: Result | str | None) -> dict:
    result = outcome if isinstance(outcome, Result) else None
    return {
        "name": member.name,
        "baseline": member.is_baseline,
        "macs": member.macs,
        "proxy_accuracy": member.accuracy,
        "accuracy": result.accuracy if result else np.nan,
        "top5": result.top5 if result else np.nan,
        "seconds": result.seconds if result else np.nan,
        "cause": outcome if isinstance(outcome, str) else None,
        "stages": member.architecture.describe(),
    }


def proxy_agreement(networks: pd.DataFrame) -> Agreement:
    """Kendall's tau and Spearman's rho of the two accuracies; NaN below FEWEST_RANKED networks."""
    both = networks.dropna(subset=["proxy_accuracy", "accuracy"])
    if len(both) < FEWEST_RANKED:
        nothing = Estimate(np.nan, np.nan, np.nan)
        return Agreement(nothing, nothing, len(both))
    x, y, weights = both["proxy_accuracy"].to_numpy(), both["accuracy"].to_numpy(), resamples(len(both))
    return Agreement(estimate(kendall(x, y, weights)), estimate(spearman(x, y, weights)), len(both))


def write_retrained(networks: pd.DataFrame, out: Path) -> None:
    """retrained.csv, and retrained.png once two networks have ended."""
    write_whole(out / "retrained.csv", as_cells(networks).to_csv(index=False))
    if networks["accuracy"].notna().sum() > 1:
        _draw(networks, out / "retrained.png")


def show_retrained(networks: pd.DataFrame, console: Console) -> None:
    """The table and the agreement on the console."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("network", "MACs", "proxy", "", "retrained", "top-5", ""):
        shown.add_column(column, justify="right" if column not in ("network", "") else "left", no_wrap=True)
    shown.add_column("architecture")
    for row in networks.itertuples():
        accuracies = [percent(None if pd.isna(value) else value) for value in (row.proxy_accuracy, row.accuracy, row.top5)]
        fronts = ["front" if on else "" for on in (row.proxy_front, row.front)]
        remark = f"{row.stages}  {row.cause}" if row.cause else row.stages
        shown.add_row(row.name, count(row.macs), accuracies[0], fronts[0], *accuracies[1:], fronts[1], remark)
    console.print(shown)
    console.print(legend(networks["stages"]), soft_wrap=True)
    console.print(str(proxy_agreement(networks)), soft_wrap=True)


def _draw(networks: pd.DataFrame, path: Path) -> None:
    """Both accuracies against MACs, side by side, each with its own front; blue is what stands on the proxy's."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    figure = Figure(figsize=(11, 4.6), dpi=150, layout="constrained")
    for axes, column, front, title in zip(
        figure.subplots(1, 2),
        ("proxy_accuracy", "accuracy"),
        ("proxy_front", "front"),
        ("proxy, on held-out training images", "retrained, on the test split (blue: on the proxy's front)"),
        strict=True,
    ):
        measured = networks[networks[column].notna()]
        best = measured[measured[front]].sort_values("macs")
        axes.step(best["macs"], 100 * best[column], where="post", color=BLUE, linewidth=1.4, zorder=2)
        for row in measured.itertuples():
            colour = DARK_ORANGE if row.baseline else BLUE if row.proxy_front else GREY
            point, marker = (row.macs, 100 * getattr(row, column)), "D" if row.baseline else "o"
            axes.scatter(*point, color=colour, marker=marker, s=34, zorder=3)
            axes.annotate(row.name, point, xytext=(4, 5), textcoords="offset points", fontsize=7)
        axes.set(xlabel="MACs", ylabel="accuracy (%)", title=title)
        axes.xaxis.set_major_formatter(EngFormatter())
        axes.grid(color="#e4e7eb", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.margins(0.1)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")
