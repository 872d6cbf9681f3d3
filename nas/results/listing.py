"""The runs on this machine as a table: how far each is, on which data, what it found, when."""

import contextlib
import time
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from nas.config.text import parse_yaml, read_text
from nas.errors import NasError, in_one_line
from nas.run.folder import RunFolder, runs_in
from nas.run.front import front_records
from nas.run.reading import Reading, read
from nas.run.record import UNFINISHED, TrialState
from nas.run.settings.search import RUN_FACTS
from nas.terminal import command
from nas.units import count, percent

ALIVE_SECONDS = 30.0  # since study.db was written to last: a driver does so every three
MOST_LETTERS = 60  # of why a run can't be read


class RunLine(NamedTuple):
    """What one run is, for a reader."""

    root: Path
    state: str
    data: str = ""
    best: str = ""
    began: str = ""


def run_line(root: Path) -> RunLine:
    """A run's line; of one that can't be read the reason stands in the place of its state."""
    try:
        reading = read(root)
        began = _began(reading)
    except NasError as error:
        return RunLine(root, f"unreadable: {in_one_line(str(error).removeprefix(f'{root}: '), most=MOST_LETTERS)}")
    search = reading.search
    return RunLine(root, _state(reading), search.proxy.data, _best(reading), began)


def show_runs(folders: tuple[Path, ...], console: Console) -> None:
    """Print the runs in `folders`, the newest last; NasError where there is none."""
    roots = [root for folder in folders for root in runs_in(folder)]
    if not roots:
        where = ", ".join(map(str, folders))
        raise NasError(f"{where}: holds no run. Give another folder, or start one: {command('search', 'hybrid')}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("run", "state", "best", "data", "began"):
        table.add_column(heading, overflow="fold")
    for each in sorted(map(run_line, roots), key=lambda each: each.began):
        table.add_row(str(each.root), each.state, each.best, each.data, each.began)
    console.print(table)


def _state(reading: Reading) -> str:
    """How many of the architectures that were asked for had their turn, and whether somebody trains them now."""
    total = reading.search.trials + len(reading.search.baselines)
    trained = sum(r.had_its_chance for r in reading.trials)
    whole = sum(r.state == TrialState.COMPLETE for r in reading.trials)
    waiting = sum(r.state == TrialState.PAUSED for r in reading.trials)
    is_open = any(r.state in UNFINISHED and r.state != TrialState.PAUSED for r in reading.trials)
    if trained >= total and not is_open and not waiting:
        return f"done, {whole} trained in full" + (f", {trained - whole} not" if trained > whole else "")
    word = "running" if _is_alive(reading.folder) else "stopped"
    return f"{word}, {trained} of {total} trained" + (f", {waiting} paused" if waiting else "")


def _is_alive(folder: RunFolder) -> bool:
    """Whether the record was written to just now; of a storage elsewhere nobody knows."""
    files = (folder.study_db, folder.study_db.with_name(f"{folder.study_db.name}-wal"))
    newest = 0.0
    for file in files:
        with contextlib.suppress(OSError):
            newest = max(newest, file.stat().st_mtime)
    return time.time() - newest < ALIVE_SECONDS


def _best(reading: Reading) -> str:
    """The most accurate network of the front."""
    best = front_records(reading.records, reading.search)
    if not best:
        return "none yet"
    top = max(best, key=lambda record: record.accuracy or 0.0)
    return f"{percent(top.accuracy)} at {count(top.cost.macs)} MACs"


def _began(reading: Reading) -> str:
    path = reading.folder.search_yaml
    head = parse_yaml(read_text(path), where=str(path)).get(RUN_FACTS) or {}
    with contextlib.suppress(ValueError, TypeError):
        return datetime.fromisoformat(str(head.get("started"))).astimezone().strftime("%Y-%m-%d %H:%M")
    return ""
