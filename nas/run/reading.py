"""A run's record as plain rows, rejected proposals included; also while the search writes."""

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nas.errors import NasError
from nas.run.additions import Addition, additions
from nas.run.folder import RunFolder, read_run
from nas.run.settings import Search

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

STUDY = "SELECT study_id FROM studies WHERE study_name = :name"
TRIALS = (
    "SELECT trial_id, number, datetime_start, datetime_complete FROM trials "
    "WHERE study_id = :study AND state <> 'WAITING' ORDER BY number"
)
FACTS = (
    "SELECT facts.trial_id, facts.key, facts.value_json FROM trial_user_attributes AS facts JOIN trials USING (trial_id) "
    "WHERE study_id = :study AND state <> 'WAITING' AND facts.key <> 'versions'"
)
NOTES = "SELECT key, value_json FROM study_user_attributes WHERE study_id = :study"
AS_TEXT = ("architecture", "curve")  # left as JSON: parsing ten thousand of them is for those who look inside
LOCKED_SECONDS = 30

NO_STUDY = "{root}: its storage holds no study named {name!r}. Start the search first."

Row = dict[str, Any]


class Reading(NamedTuple):
    """A run as it was at one moment."""

    folder: RunFolder
    search: Search
    rows: list[Row]
    """One mapping a trial in the order of their numbers, its facts by name beside `trial`, `began` and `ended`."""
    additions: list[Addition]
    """What was learnt of trials after they ended."""


def read(root: Path, search: Search | None = None) -> Reading:
    """Everything in the record of the run in `root`; NasError where there is none.

    A verb that was given the run's `search` hands it on: in the run's folder the password of its storage is left out.
    """
    folder, written = read_run(root)
    search = search or written
    rows, notes = _file(search, folder) if search.search.storage is None else _storage(search, folder)
    return Reading(folder, search, rows, additions(notes))


def _file(search: Search, folder: RunFolder) -> tuple[list[Row], dict[str, Any]]:
    """The rows and the study's own attributes, read from study.db as the file it is: Optuna would take ten times as long."""
    if not folder.study_db.exists():
        raise NasError(f"{folder.root}: holds no study.db, so nothing was trained there. Start the search first.")
    where = f"{folder.study_db.absolute().as_uri()}?mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(where, uri=True, timeout=LOCKED_SECONDS)) as connection:
            connection.execute("BEGIN")  # all queries see the same moment
            found = connection.execute(STUDY, {"name": search.name}).fetchone()
            if found is None:
                raise NasError(NO_STUDY.format(root=folder.root, name=search.name))
            trials, facts, notes = (connection.execute(q, {"study": found[0]}).fetchall() for q in (TRIALS, FACTS, NOTES))
        return _rows(trials, facts), {name: json.loads(text) for name, text in notes}
    except (sqlite3.DatabaseError, ValueError) as error:
        raise NasError(
            f"{folder.study_db}: cannot be read: {error}. Nothing was changed. Check its folder's permissions and disk; where "
            f"it is damaged, restore it from a backup, or try `sqlite3 {folder.study_db.name} .recover`."
        ) from None


def _rows(trials: list[tuple], facts: list[tuple[int, str, str]]) -> list[Row]:
    rows = {i: {"trial": number, "began": began, "ended": ended} for i, number, began, ended in trials}
    values = parsed([text for _, name, text in facts if name not in AS_TEXT])
    for trial, name, text in facts:
        rows[trial][name] = text if name in AS_TEXT else next(values)
    return list(rows.values())


def parsed(texts: list[str]) -> Iterator[Any]:
    """The value of each JSON text; all in one go, which takes a third of the time."""
    return iter(json.loads(f"[{','.join(texts)}]"))


def _storage(search: Search, folder: RunFolder) -> tuple[list[Row], dict[str, Any]]:
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
    return [_row(t) for t in trials if t.state.name != "WAITING"], notes


def _row(trial: "FrozenTrial") -> Row:
    facts = {n: json.dumps(v) if n in AS_TEXT else v for n, v in trial.user_attrs.items() if n != "versions"}
    return {"trial": trial.number, "began": trial.datetime_start, "ended": trial.datetime_complete, **facts}
