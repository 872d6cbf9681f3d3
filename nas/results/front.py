"""Trials and fronts as pandas tables, CSV files and a picture."""

import json
from pathlib import Path

import pandas as pd

from nas.errors import NasError
from nas.files import replacing, write_whole
from nas.search.folder import RunFolder, read_run
from nas.search.record import Record, front
from nas.search.settings import Search
from nas.search.storage import read_records

COLUMNS = [
    "trial", "state", "baseline", "accuracy", "macs", "params", "frozen_params", "activation_bytes", "epochs", "seconds",
    "cause", "start", "answered_from", "key", "seed", "manifest", "curve", "architecture",
]  # fmt: skip
COST_LABELS = {"macs": "MACs", "params": "parameters", "activation_bytes": "activation memory (bytes)"}


def load(root: Path) -> pd.DataFrame:
    """One row a trial of the run in `root`, in the order of their numbers; also while it runs."""
    folder, search = read_run(root)
    return frame(read_records(search, folder))


def frame(records: list[Record]) -> pd.DataFrame:
    """Records as a table with the columns of trials.csv; accuracy is a fraction, and empty unless the training was whole."""
    return pd.DataFrame([_row(r) for r in records], columns=COLUMNS)


def _row(record: Record) -> dict:
    return {
        "trial": record.number,
        "epochs": record.curve[-1]["epoch"] if record.curve else 0,
        **{name: getattr(record, name) for name in ("state", "baseline", "accuracy", "seconds", "cause", "key")},
        **record.cost._asdict(),
        **{name: record.facts.get(name) for name in ("start", "answered_from", "seed", "manifest")},
        "curve": json.dumps(record.curve),
        "architecture": json.dumps(record.architecture.to_dict()),
    }


def write(records: list[Record], search: Search, folder: RunFolder) -> None:
    """Write trials.csv, front.csv and, once a training was whole, front.png into the run's folder."""
    best = front(records, search)
    write_whole(folder.root / "trials.csv", frame(records).to_csv(index=False))
    write_whole(folder.root / "front.csv", frame(best).to_csv(index=False))
    if any(r.accuracy is not None for r in records):
        draw(records, best, search, folder.root / "front.png")


def require_front(records: list[Record], best: list[Record], folder: RunFolder) -> None:
    """NasError that says what failed and why, if no affordable training was whole."""
    if best:
        return
    causes = pd.Series(
        [f"{r.state}: {r.cause}" for r in records if r.state in ("failed", "stopped")], dtype=object
    ).value_counts()
    why = "".join(f"\n  {number} x {cause}" for cause, number in causes.head(5).items())
    raise NasError(f"{folder.root}: no trial has finished yet, so there is no front.{why}\nContinue the search and look again.")


def draw(records: list[Record], best: list[Record], search: Search, path: Path) -> None:
    """Accuracy against the first cost: every whole training, the front as a line, the baselines by name."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import EngFormatter

    cost = search.objectives[1]

    def at(chosen: list[Record]) -> tuple[list[float], list[float]]:
        return [getattr(r.cost, cost) for r in chosen], [100 * r.accuracy for r in chosen]

    done = [r for r in records if r.state == "complete"]
    baselines = [r for r in done if r.baseline]
    figure, axes = plt.subplots(figsize=(8, 5), dpi=150, layout="constrained")
    axes.scatter(*at([r for r in done if not r.baseline]), s=22, color="#9aa5b1", label="searched", zorder=2)
    axes.step(*at(best), where="post", color="#0072b2", linewidth=1.4, zorder=3)
    axes.scatter(*at(best), s=34, color="#0072b2", label="front", zorder=4)
    if baselines:
        look = {"marker": "D", "facecolor": "white", "edgecolor": "#d55e00", "linewidth": 1.6, "label": "baseline"}
        axes.scatter(*at(baselines), s=60, zorder=5, **look)
    for record, x, y in zip(baselines, *at(baselines), strict=True):
        axes.annotate(
            record.baseline, (x, y), xytext=(0, 8), ha="center", textcoords="offset points", fontsize=8, color="#a34700"
        )
    axes.set(xlabel=COST_LABELS[cost], ylabel="proxy accuracy (%)", title=f"{search.name}: {len(done)} trained architectures")
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.margins(0.06)
    axes.grid(color="#e4e7eb", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")
    plt.close(figure)
