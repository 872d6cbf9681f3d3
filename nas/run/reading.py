"""A run's record as it is at one moment, rejected proposals included; also while the search writes."""

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from nas.errors import NasError
from nas.run.additions import Addition, additions
from nas.run.folder import RunFolder, read_run
from nas.run.record import CostOf, NotWritten, Record, TrialState, read_record, record_of
from nas.run.settings import Search

STUDY = "SELECT study_id FROM studies WHERE study_name = :name"
TRIALS = (
    "SELECT trial_id, number, datetime_start, datetime_complete FROM trials "
    "WHERE study_id = :study AND state <> 'WAITING' ORDER BY number"
)
FACTS = (
    "SELECT facts.trial_id, facts.key, facts.value_json FROM trial_user_attributes AS facts JOIN trials USING (trial_id) "
    "WHERE study_id = :study AND state <> 'WAITING'"
)
NOTES = "SELECT key, value_json FROM study_user_attributes WHERE study_id = :study"
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
    try:
        records, notes = read_trials(search, folder)
    except NotWritten as error:
        raise NasError(f"{root}: {error}") from None
    return Reading(folder, search, records, additions(notes))


def _file(search: Search, folder: RunFolder) -> tuple[list[Record], Facts]:
    """The records and the study's own attributes, read from study.db as the file it is: Optuna would take ten times as long."""
    if not folder.study_db.is_file():
        raise NasError(f"{folder.root}: holds no study.db, so nothing was trained there. Start the search first.")
    where = f"{folder.study_db.absolute().as_uri()}?mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(where, uri=True, timeout=LOCKED_SECONDS)) as connection:
            connection.execute("BEGIN")  # all queries see the same moment
            study = connection.execute(STUDY, {"name": search.name}).fetchone()
            if study is None:
                raise NasError(NO_STUDY.format(root=folder.root, name=search.name))
            trials, facts, notes = (connection.execute(q, {"study": study[0]}).fetchall() for q in (TRIALS, FACTS, NOTES))
        return _records(trials, facts, search.cost), {name: json.loads(text) for name, text in notes}
    except (sqlite3.DatabaseError, ValueError) as error:
        raise NasError(
            f"{folder.study_db}: cannot be read: {error}. Nothing was changed. Check its folder's permissions and disk; where "
            f"it is damaged, restore it from a backup, or try `sqlite3 {folder.study_db.name} .recover`."
        ) from None


def _records(trials: list[tuple], facts: list[tuple[int, str, str]], count: CostOf) -> list[Record]:
    by_trial: dict[int, Facts] = {identity: {} for identity, *_ in trials}
    values = parsed([text for _, name, text in facts if name not in AS_TEXT])
    for trial, name, text in facts:
        by_trial[trial][name] = text if name in AS_TEXT else next(values)
    return [
        record_of(number, by_trial[identity], count=count, began_at=start, ended_at=end)
        for identity, number, start, end in trials
    ]


def parsed(texts: list[str]) -> Iterator[Any]:
    """The value of each JSON text; all in one go, which takes a third of the time."""
    return iter(json.loads(f"[{','.join(texts)}]"))


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
    return [read_record(t, count=search.cost) for t in trials if t.state.name != "WAITING"], notes
