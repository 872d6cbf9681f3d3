"""Trials and fronts as pandas tables and files; what another program reads."""

from pathlib import Path

import pandas as pd

from nas.errors import NasError
from nas.files import replacing
from nas.results.points import dominated_by, front, hypervolume, knee
from nas.results.reading import read
from nas.results.trials import table

__all__ = ["COLUMNS", "COST_LABELS", "dominated_by", "front", "hypervolume", "knee", "load", "save"]

COLUMNS = [
    "trial", "state", "baseline", "accuracy", "macs", "params", "frozen_params", "activation_bytes", "epochs", "seconds",
    "cause", "why", "predicted", "spread", "expected_gain", "parents", "changes",
    "start", "answered_from", "key", "seed", "manifest", "curve", "architecture",
]  # fmt: skip
COST_LABELS = {"macs": "MACs", "params": "parameters", "activation_bytes": "activation memory (bytes)"}


def load(*roots: Path) -> pd.DataFrame:
    """One row a trial of the runs in `roots`, in the order of their numbers; also while they run.

    The columns of trials.csv come first, then `run`, `line` (the architecture for a reader), `affordable`, `accuracy_low` and
    `accuracy_high` (what the noise leaves open), `began`, `ended`, and every stage's choices as `stage1_mixer`, ...
    """
    tables = [table(read(Path(root)), COLUMNS) for root in roots]
    if len({t["run"].iloc[0] for t in tables if len(t)}) < len(tables):
        tables = [t.assign(run=str(root)) for t, root in zip(tables, roots, strict=True)]
    found = pd.concat(tables, ignore_index=True)
    found.attrs = {"runs": len(tables)}
    return found


def save(trials: pd.DataFrame, path: Path) -> None:
    """Write a table as Parquet or CSV, as the ending says; NasError for another."""
    writers = {".parquet": trials.to_parquet, ".csv": trials.to_csv}
    if Path(path).suffix not in writers:
        raise NasError(f"{path}: must end in {' or '.join(writers)}, but ends in {Path(path).suffix!r}. Choose one of them.")
    with replacing(path) as temporary:
        writers[Path(path).suffix](temporary, index=False)
