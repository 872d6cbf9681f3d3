"""Optuna's storage of a run, opened quietly and with errors a person can mend; the only file that opens one."""

import contextlib
import os
import sqlite3
import warnings
from collections.abc import Iterator

import optuna
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError

from nas.errors import NasError
from nas.search.folder import RunFolder
from nas.search.record import Record, read_record
from nas.search.settings import Search

URL_VARIABLE = "NAS_STORAGE"


def read_records(search: Search, folder: RunFolder) -> list[Record]:
    """Every trial in a run's record, rejected and waiting ones left out; also while the search runs."""
    storage = open_storage(search, folder, create=False)
    with storage_errors(search, folder):
        try:
            study = optuna.load_study(study_name=search.name, storage=storage)
        except KeyError:
            raise NasError(
                f"{folder.root}: its storage holds no study named {search.name!r}. Start the search first."
            ) from None
        records = [read_record(t) for t in study.get_trials(deepcopy=False) if t.state != TrialState.WAITING]
        storage.engine.dispose()
    return [r for r in records if r.state != "rejected" and r.architecture is not None]


def open_storage(search: Search, folder: RunFolder, *, create: bool) -> RDBStorage:
    """The storage of the run, quiet; NasError if it is damaged, missing or out of reach."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    with storage_errors(search, folder):
        if search.search.storage is None:
            _check_sqlite(folder, create=create)
        storage = RDBStorage(_url(search, folder))
        if storage.engine.dialect.name == "sqlite" and create:
            event.listen(storage.engine, "connect", _use_wal)
            storage.engine.dispose()
        return storage


def _url(search: Search, folder: RunFolder) -> str:
    """Where the record lies; a password that was not written into the run's folder comes from the environment."""
    given = search.search.storage or f"sqlite:///{folder.study_db}"
    if ":***@" not in given:
        return given
    if URL_VARIABLE not in os.environ:
        raise NasError(
            f"{folder.search_yaml}: search.storage: its password was not written down. Set {URL_VARIABLE} to the whole URL."
        )
    return os.environ[URL_VARIABLE]


def close_storage(storage: RDBStorage) -> None:
    """Let go of the storage; SQLite is left as one plain file, which can be copied and read where nothing can be written."""
    if storage.engine.dialect.name == "sqlite":
        # while somebody reads it, it stays as it is
        with contextlib.suppress(SQLAlchemyError), storage.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=DELETE")
    storage.engine.dispose()


def _use_wal(connection: sqlite3.Connection, _: object) -> None:
    """Write-ahead logging halves what a commit costs and lets a reader look while the search writes."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def _check_sqlite(folder: RunFolder, *, create: bool) -> None:
    if not folder.study_db.exists():
        if not create:
            raise NasError(f"{folder.root}: holds no study.db, so nothing was trained there. Start the search first.")
        return
    try:
        with contextlib.closing(sqlite3.connect(folder.study_db)) as connection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        raise NasError(f"{folder.study_db}: cannot be opened: {error}. Check its folder's permissions and disk.") from None
    except sqlite3.DatabaseError as error:
        found = str(error)
    if found != "ok":
        raise NasError(
            f"{folder.study_db}: is damaged ({found}). Nothing was changed. Restore it from a backup, or try "
            f"`sqlite3 {folder.study_db.name} .recover`, or start a new run with another --out."
        )


@contextlib.contextmanager
def storage_errors(search: Search, folder: RunFolder) -> Iterator[None]:
    """What goes wrong in the storage as a NasError."""
    try:
        yield
    except ImportError:
        raise NasError(
            "the storage given with --storage needs a database driver, such as: pip install psycopg2-binary"
        ) from None
    except (optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
        where = folder.study_db if search.search.storage is None else "the storage given with --storage"
        why = " ".join(str(getattr(error.__cause__, "orig", None) or getattr(error, "orig", None) or error).split())[:200]
        raise NasError(
            f"{where}: cannot be used: {why}. What was told before is safe; mend this and start the same command again."
        ) from None
