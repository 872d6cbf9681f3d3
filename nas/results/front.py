"""Trials and fronts as pandas tables and files; what another program reads."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from nas.errors import NasError
from nas.files import replacing
from nas.results.columns import COLUMNS
from nas.results.families import lead_over_families
from nas.results.noise import tied
from nas.results.points import dominated_by, front, hypervolume, knee
from nas.results.trials import curves_by_row, trial_table, with_choices
from nas.run.front import reference_costs
from nas.run.reading import Reading, read
from nas.space.architecture import Architecture
from nas.space.costs import ON
from nas.spreadsheets import as_cells

ENCODED = ("curve", "architecture", "attempts", "parents", "changes")  # columns of a table of records that hold JSON
COLUMNS_LAST = ("key", "seed", "manifest", *ENCODED, "right")  # columns that say little in a row of a printed table
OF_AN_EPOCH = ("epoch", "accuracy", "loss", "train_loss", "lr", "seconds")

__all__ = [
    "COLUMNS",
    "curves",
    "dominated_by",
    "front",
    "hypervolume",
    "joined",
    "knee",
    "lead_over_families",
    "load",
    "save",
    "tied",
]


def load(*roots: Path, latency: str | None = None) -> pd.DataFrame:
    """One row a trial of the runs in `roots`, in the order of their numbers; also while they run.

    The columns of trials.csv, then `run`, `stages` (the architecture for a reader), `within_limits`, `accuracy_low` and
    `accuracy_high` (what the noise leaves open), `accuracy_first`, `balanced_accuracy` (classes count alike), `began`, `ended`,
    what the architecture is made of, the network's choices (`head`, ...) and each stage's as `stage1_mixer`, ...,
    and last what is no number or word: `architecture` and `curve` as objects, `parents`, `changes`, `attempts`, `right` (which
    images). The accuracy of a trial that was trained again with other seeds is their mean, `accuracy_sd` their spread and
    `accuracy_first` what the search itself saw.
    `latency_ms` is what was measured last, or what was measured under conditions in which the words of `latency` stand, such
    as "cuda". `attrs["reference"]` holds the costs by which the run's hypervolume is measured.
    """
    trials = with_choices(joined([read(Path(root)) for root in roots], latency=latency))
    ordered = trials[[*(c for c in trials if c not in COLUMNS_LAST), *(c for c in COLUMNS_LAST if c in trials)]].copy()
    for name in ENCODED:
        ordered[name] = [_object(name, text) for text in trials[name]]
    ordered.attrs = trials.attrs
    return ordered


def _object(column: str, text: Any) -> Any:
    """What a text of JSON says; None where there is none, which pandas may have made a NaN."""
    value = json.loads(text) if isinstance(text, str) and text else None
    return Architecture.model_validate(value) if column == "architecture" and value else value


def curves(*roots: Path) -> pd.DataFrame:
    """One row an epoch of every trial: run, trial, epoch, accuracy, loss, train_loss, lr, seconds."""
    trials = joined([read(Path(root)) for root in roots])
    rows = [
        {"run": trials.at[i, "run"], "trial": trials.at[i, "trial"], **{name: epoch.get(name) for name in OF_AN_EPOCH}}
        for i, curve in curves_by_row(trials).items()
        for epoch in curve
    ]
    return pd.DataFrame(rows, columns=["run", "trial", *OF_AN_EPOCH])


def joined(readings: list[Reading], *, latency: str | None = None) -> pd.DataFrame:
    """The same of runs that were read already, without what `with_choices` adds, which takes half the time."""
    tables = [trial_table(reading, COLUMNS, latency=latency) for reading in readings]
    if len({t["run"].iloc[0] for t in tables if len(t)}) < len(tables):
        tables = [t.assign(run=str(r.folder.root)) for t, r in zip(tables, readings, strict=True)]
    trials = pd.concat(tables, ignore_index=True)
    trials.attrs = {"runs": len(tables), "reference": _reference(readings)}
    return trials


def _reference(readings: list[Reading]) -> dict[str, float]:
    """The costs at the corner of the hypervolume's box, by their names; the largest of several runs."""
    costs: dict[str, float] = {}
    for reading in readings:
        for name, most in zip(reading.search.objectives[1:], reference_costs(reading.search), strict=True):
            costs[name] = max(most, costs.get(name, 0.0))
    return costs


def save(trials: pd.DataFrame, path: Path) -> None:
    """Write a table as Parquet or CSV, as the ending says, without what was `right`; NasError for another ending."""
    plain = trials.drop(columns="right", errors="ignore")
    plain = plain.assign(**{name: [_text(value) for value in plain[name]] for name in ENCODED if name in plain})
    plain.attrs = {}
    writers = {".parquet": plain.to_parquet, ".csv": as_cells(plain).to_csv}
    if Path(path).suffix not in writers:
        raise NasError(f"{path}: must end in {' or '.join(writers)}, but ends in {Path(path).suffix!r}. Choose one of them.")
    with replacing(path) as temporary:
        writers[Path(path).suffix](temporary, index=False)


def _text(value: Any) -> str | None:
    """A cell as JSON, as which it may be already."""
    if isinstance(value, Architecture):
        value = value.to_dict()
    return value if value is None or isinstance(value, str) else json.dumps(value)


def write_tables(root: Path, trials: pd.DataFrame, best: pd.DataFrame) -> None:
    """trials.csv and front.csv in the folder of a run."""
    for name, rows in (("trials.csv", trials), ("front.csv", best)):
        save(rows[[*COLUMNS, *(column for column in rows if ON in column)]], root / name)
