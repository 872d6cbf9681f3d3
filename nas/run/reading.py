"""A run's record as it is at one moment, rejected proposals included; also while the search writes."""

import contextlib
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from nas.config.layers import rooted
from nas.config.values import validated
from nas.errors import NasError, few, in_one_line
from nas.run.additions import Addition, additions
from nas.run.folder import RunFolder, check_same, plain_search, read_run
from nas.run.record import (
    NOTHING_CHANGED,
    UNFINISHED,
    CostOf,
    NotWritten,
    Record,
    TrialState,
    damaged,
    read_record,
    record_of,
)
from nas.run.settings.search import Search
from nas.space.plugins.code import no_plugin_runs

VERSION = "SELECT schema_version FROM version_info"  # which Optuna asks for before it writes
STUDY = "SELECT study_id FROM studies WHERE study_name = :name"
TRIALS = (
    "SELECT trial_id, number, state, datetime_start, datetime_complete FROM trials "
    "WHERE study_id = :study AND state <> 'WAITING' ORDER BY number"
)
FACTS = (
    "SELECT facts.trial_id, facts.key, facts.value_json FROM trial_user_attributes AS facts JOIN trials USING (trial_id) "
    "WHERE study_id = :study AND state <> 'WAITING'"
)
NOTES = "SELECT key, value_json FROM study_user_attributes WHERE study_id = :study"
DRIVING = ".drivers"  # behind a search's name: the study of those that drove it
OPTUNA_STATES = ("RUNNING", "COMPLETE", "PRUNED", "FAIL")  # but for those that wait, which are no records yet
AS_TEXT = ("architecture", "curve")  # left as JSON: parsing ten thousand of them is for those who look inside
Facts = dict[str, Any]
LOCKED_SECONDS = 30

NO_STUDY = "{root}: its storage holds no study named {name!r}. Start the search first."


class Reading(NamedTuple):
    """A run as it was at one moment."""

    folder: RunFolder
    search: Search
    records: list[Record]
    """Every trial in the order of their numbers."""
    additions: list[Addition]
    """What was learnt of trials after they ended."""

    @property
    def trials(self) -> list[Record]:
        """Those that were not turned down, baselines included."""
        return [r for r in self.records if r.state != TrialState.REJECTED and r.is_drawn]

    def record(self, number: int) -> Record:
        """The trial of that number."""
        return next(r for r in self.records if r.number == number)


def read(root: Path, search: Search | None = None) -> Reading:
    """Everything in the record of the run in `root`; NasError where there is none.

    A verb that was given the run's `search` hands it on: in the run's folder the password of its storage is left out.
    """
    folder, written = read_run(root)
    search = search or written
    read_trials = _file if search.storage is None else _storage
    with as_written(folder), no_plugin_runs():
        records, notes = read_trials(search, folder)
        return Reading(folder, search, records, additions(notes))


def _file(search: Search, folder: RunFolder) -> tuple[list[Record], Facts]:
    """The records and the study's own attributes, read from study.db as the file it is: Optuna would take ten times as long."""
    if not folder.study_db.is_file():
        raise NasError(f"{folder.root}: holds no study.db, so nothing was trained there. Start the search first.")
    with _connected(folder) as connection:
        connection.execute("BEGIN")  # all queries see the same moment
        connection.execute(VERSION)
        study = connection.execute(STUDY, {"name": search.name}).fetchone()
        if study is None:
            raise NasError(NO_STUDY.format(root=folder.root, name=search.name))
        trials, facts, notes = (connection.execute(q, {"study": study[0]}).fetchall() for q in (TRIALS, FACTS, NOTES))
        return _records(trials, facts, search.cost), {name: json.loads(text) for name, text in notes}


@contextlib.contextmanager
def _connected(folder: RunFolder) -> Iterator[sqlite3.Connection]:
    """study.db, to be read only; NasError where it is no database, or what is read of it none of ours."""
    try:
        with _readable(folder.study_db) as path:
            where = f"{path.absolute().as_uri()}?mode=ro"
            with contextlib.closing(sqlite3.connect(where, uri=True, timeout=LOCKED_SECONDS)) as connection:
                yield connection
    except (sqlite3.Error, ValueError, TypeError, RecursionError) as error:  # no tables of ours, or no JSON in them
        raise NasError(
            f"{folder.study_db}: cannot be read: {in_one_line(error)}. Nothing was changed. Check its folder's permissions and "
            f"disk; where it is damaged, restore it from a backup, or try `sqlite3 {folder.study_db.name} .recover`."
        ) from None


def check_record(search: Search, folder: RunFolder, *, manifest_hash: str) -> None:
    """Nothing, if the study.db in a run's folder is whole and this search's own, or there is none yet.

    NasError otherwise; nothing is changed, as it would be where Optuna opens a file to write. A storage elsewhere is looked at
    when it is opened.
    """
    if search.storage is not None:
        return
    with as_written(folder):
        _check_own(search, folder, manifest_hash=manifest_hash)


def _check_own(search: Search, folder: RunFolder, *, manifest_hash: str) -> None:
    studies = _studies(folder)
    if search.name in studies:
        records, notes = _file(search, folder)
        check_parts(records)
        if "search" in notes:
            check_settings(notes["search"], search, folder, manifest_hash=manifest_hash)
            additions(notes)
            return
    elif studies:
        raise NasError(
            f"{folder.study_db}: must be the record of {search.name!r}, but is that of {few(studies, most=3)}. Choose another "
            "--out, or name the search as it was."
        )
    check_no_weights(folder)


def check_parts(records: Iterable[Record]) -> None:
    """NotWritten unless every architecture and curve can be read, which are else parsed when they are asked for."""
    for record in records:
        if record.is_drawn:
            _ = record.architecture, record.curve


def _studies(folder: RunFolder) -> list[str]:
    """The names of the studies in study.db, the drivers' own left out; none where no search got as far."""
    if not folder.study_db.exists():
        return []
    if not folder.study_db.is_file():
        raise NasError(f"{folder.study_db}: must be a file, but is something else. Move it away, or choose another --out.")
    with _connected(folder) as connection:
        if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return []
        return [name for (name,) in connection.execute("SELECT study_name FROM studies") if not name.endswith(DRIVING)]


@contextlib.contextmanager
def as_written(folder: RunFolder) -> Iterator[None]:
    """What Optuna can't read of a record, or reads as no search writes it, as one NasError."""
    try:
        yield
    except (NotWritten, LookupError, ValueError, TypeError, AttributeError, RecursionError) as error:
        why = (
            str(error)
            if isinstance(error, NotWritten)
            else f"the record can't be read: {in_one_line(error)}. {NOTHING_CHANGED}"
        )
        raise NasError(f"{folder.root}: {why}") from None


def check_settings(written: Any, search: Search, folder: RunFolder, *, manifest_hash: str) -> None:
    """NasError unless what a record says of its search agrees with `search` and the images' hash."""
    if not isinstance(written, dict):
        raise NotWritten(
            f"{folder.root}: search: the record must hold its settings, but got {written!r:.100}. {NOTHING_CHANGED}"
        )
    before = {name: value for name, value in written.items() if name != "manifest"}
    settings = validated(Search, rooted(before, folder.root), where=f"the record of {folder.root}")
    there, now = (
        {"manifest": written.get("manifest"), **plain_search(settings)},
        {"manifest": manifest_hash, **plain_search(search)},
    )
    check_same(there, now, where=str(folder.root))


def check_no_weights(folder: RunFolder) -> None:
    """NasError where a search left weights in a folder, whose record is then somewhere else."""
    if folder.has_weights:
        raise NasError(
            f"{folder.root}: holds weights of a search, but its record is not in the storage that is to be used. They "
            "were left as they are. Give the --storage that the search began with, or choose another --out."
        )


def _records(trials: list[tuple], facts: list[tuple[int, str, str]], count: CostOf) -> list[Record]:
    by_trial: dict[int, Facts] = {identity: {} for identity, *_ in trials}
    values = parsed([text for _, name, text in facts if name not in AS_TEXT])
    for trial, name, text in facts:
        by_trial[trial][name] = text if name in AS_TEXT else next(values)
    numbers = [number for _, number, *_ in trials]
    if numbers != sorted({number for number in numbers if isinstance(number, int)}):
        raise NotWritten(f"trials: must have a number each, but got {numbers!r:.100}. {NOTHING_CHANGED}")
    records = [
        record_of(number, by_trial[identity], count=count, began_at=start, ended_at=end)
        for identity, number, _, start, end in trials
    ]
    _check_agreement(records, [state for _, _, state, *_ in trials])
    return records


@contextlib.contextmanager
def _readable(database: Path) -> Iterator[Path]:
    """A database that SQLite can open: itself, or a copy where its folder can only be read and a killed search left its log.

    A log has to be read into an index beside it, which SQLite must write.
    """
    log = database.with_name(f"{database.name}-wal")
    if os.access(database.parent, os.W_OK) or not (log.exists() or _is_logged(database)):
        yield database
        return
    with tempfile.TemporaryDirectory() as scratch:
        for file in filter(Path.exists, (database, log)):
            shutil.copyfile(file, Path(scratch) / file.name)
        yield Path(scratch) / database.name


def _is_logged(database: Path) -> bool:
    """Whether a database is in the mode of a log written ahead. https://sqlite.org/fileformat.html, section 1.3."""
    with database.open("rb") as file:
        return file.read(20)[18:20] == b"\x02\x02"


def _check_agreement(records: list[Record], states: list[str]) -> None:
    """NotWritten where Optuna's states are none, or facts of a trial that belong together do not stand together."""
    numbers = {record.number for record in records}
    for record, state in zip(records, states, strict=True):
        if state not in OPTUNA_STATES or (state != "RUNNING" and record.state in UNFINISHED):
            rule = f"must be {', '.join(OPTUNA_STATES)} as the search's own is"
            raise damaged(record.number, "state", f"{rule}, but got {state!r:.50} beside {record.state}")
        if record.state == TrialState.COMPLETE and record.accuracy is None:
            raise damaged(record.number, "accuracy", "must be a number where the state is complete, but got none")
        if not record.is_drawn and record.state not in (TrialState.RUNNING, TrialState.REJECTED):
            raise damaged(record.number, "architecture", f"must be there where the state is {record.state}, but is not")
        is_answered = (record.state == TrialState.ANSWERED and record.source is None) or record.answered_from is not None
        if is_answered and record.answered_from not in numbers:
            raise damaged(record.number, "answered_from", f"must be a trial's number, but got {record.answered_from}")


def parsed(texts: list[str]) -> Iterator[Any]:
    """The value of each JSON text; all in one go, which takes a third of the time. ValueError where one is none."""
    try:
        return iter(json.loads(f"[{','.join(texts)}]"))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _storage(search: Search, folder: RunFolder) -> tuple[list[Record], Facts]:
    """The same from a storage of the user's own, through Optuna."""
    from nas.run.storage import close_storage, open_storage, storage_errors

    storage = open_storage(search, folder, create=False)
    try:
        with storage_errors(search, folder):
            study = storage.get_study_id_from_name(search.name)
            trials, notes = storage.get_all_trials(study, deepcopy=False), storage.get_study_user_attrs(study)
    except KeyError:
        raise NasError(NO_STUDY.format(root=folder.root, name=search.name)) from None
    finally:
        close_storage(storage)
    able = [trial for trial in trials if trial.state.name != "WAITING"]
    records = [read_record(trial, count=search.cost) for trial in able]
    _check_agreement(records, [trial.state.name for trial in able])
    return records, notes
