"""Trials and fronts as pandas tables and files; what another program reads."""

from pathlib import Path

import pandas as pd

from nas.errors import NasError
from nas.files import replacing
from nas.results.columns import COLUMNS
from nas.results.families import lead_over_families
from nas.results.noise import tied
from nas.results.points import dominated_by, front, hypervolume, knee
from nas.results.trials import trial_table, with_choices
from nas.run.reading import Reading, read
from nas.space.costs import ON
from nas.spreadsheets import as_cells

__all__ = ["COLUMNS", "dominated_by", "front", "hypervolume", "joined", "knee", "lead_over_families", "load", "save", "tied"]


def load(*roots: Path, latency: str | None = None) -> pd.DataFrame:
    """One row a trial of the runs in `roots`, in the order of their numbers; also while they run.

    The columns of trials.csv come first, then `run`, `line` (the architecture for a reader), `affordable`, `accuracy_low` and
    `accuracy_high` (what the noise leaves open), `accuracy_first`, `balanced_accuracy` (classes count alike), `right` (which
    images), `began`, `ended`, and what the architecture is made of: the network's choices (`head`, `stem_kernel`, ...) and each
    stage's as `stage1_mixer`, ... The accuracy of a trial that was trained again with other seeds is their mean, `accuracy_sd`
    their spread and `accuracy_first` what the search itself saw.
    `latency_ms` is what was measured last, or what was measured under conditions in which the words of `latency` stand, such
    as "cuda".
    """
    return with_choices(joined([read(Path(root)) for root in roots], latency=latency))


def joined(readings: list[Reading], *, latency: str | None = None) -> pd.DataFrame:
    """The same of runs that were read already, without what `with_choices` adds, which takes half the time."""
    tables = [trial_table(reading, COLUMNS, latency=latency) for reading in readings]
    if len({t["run"].iloc[0] for t in tables if len(t)}) < len(tables):
        tables = [t.assign(run=str(r.folder.root)) for t, r in zip(tables, readings, strict=True)]
    trials = pd.concat(tables, ignore_index=True)
    trials.attrs = {"runs": len(tables)}
    return trials


def save(trials: pd.DataFrame, path: Path) -> None:
    """Write a table as Parquet or CSV, as the ending says, without what was `right`; NasError for another ending."""
    plain = trials.drop(columns="right", errors="ignore")
    writers = {".parquet": plain.to_parquet, ".csv": as_cells(plain).to_csv}
    if Path(path).suffix not in writers:
        raise NasError(f"{path}: must end in {' or '.join(writers)}, but ends in {Path(path).suffix!r}. Choose one of them.")
    with replacing(path) as temporary:
        writers[Path(path).suffix](temporary, index=False)


def write_tables(root: Path, trials: pd.DataFrame, best: pd.DataFrame) -> None:
    """trials.csv and front.csv in the folder of a run."""
    for name, rows in (("trials.csv", trials), ("front.csv", best)):
        save(rows[[*COLUMNS, *(column for column in rows if ON in column)]], root / name)
