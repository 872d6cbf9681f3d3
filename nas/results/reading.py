"""A run's record as plain rows in three queries, rejected proposals included; also while the search writes."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import column, select, table
from sqlalchemy.engine import Connection

from nas.errors import NasError
from nas.search.folder import RunFolder, read_run
from nas.search.settings import Search
from nas.search.storage import open_storage, storage_errors

STUDIES = table("studies", column("study_id"), column("study_name"))
TRIALS = table("trials", *map(column, ("trial_id", "study_id", "number", "state", "datetime_start", "datetime_complete")))
FACTS = table("trial_user_attributes", *map(column, ("trial_id", "key", "value_json")))
AS_TEXT = ("architecture", "curve")  # left as JSON: parsing ten thousand of them is for those who look inside
UNREAD = ("versions",)


class Reading(NamedTuple):
    """A run as it was at one moment."""

    folder: RunFolder
    search: Search
    rows: list[dict[str, Any]]
    """One mapping a trial in the order of their numbers, its facts by name beside `trial`, `began` and `ended`."""


def read(root: Path) -> Reading:
    """Everything in the record of the run in `root`; NasError where there is none."""
    folder, search = read_run(root)
    storage = open_storage(search, folder, create=False)
    with storage_errors(search, folder):
        try:
            with storage.engine.connect() as connection:
                rows = _rows(connection, search, folder)
        finally:
            storage.engine.dispose()
    return Reading(folder, search, rows)


def _rows(connection: Connection, search: Search, folder: RunFolder) -> list[dict[str, Any]]:
    study = connection.execute(select(STUDIES.c.study_id).where(STUDIES.c.study_name == search.name)).scalar()
    if study is None:
        raise NasError(f"{folder.root}: its storage holds no study named {search.name!r}. Start the search first.")
    asked = (TRIALS.c.study_id == study) & (TRIALS.c.state != "WAITING")
    found = connection.execute(select(TRIALS).where(asked).order_by(TRIALS.c.number)).all()
    rows = {t.trial_id: {"trial": t.number, "began": t.datetime_start, "ended": t.datetime_complete} for t in found}
    facts = select(FACTS).where(FACTS.c.key.not_in(UNREAD))
    for trial, name, value in connection.execute(facts):
        if trial in rows:
            rows[trial][name] = value if name in AS_TEXT else json.loads(value)
    return list(rows.values())
