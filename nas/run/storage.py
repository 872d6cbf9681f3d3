"""Optuna's storage of a run, opened quietly and with errors a person can mend; the only file that opens one."""

import contextlib
import gc
import json
import os
import sqlite3
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, get_storage
from sqlalchemy import create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from nas.callbacks import ignore
from nas.config.layers import SQLITE
from nas.errors import ConfigError, NasError
from nas.passwords import MASK, without_password
from nas.run.folder import RunFolder
from nas.run.patient_storage import PatientStorage, database_message
from nas.run.record_files import HeldRecord, WholeLines, is_journal
from nas.run.settings.search import Search

URL_VARIABLE = "NAS_STORAGE"
JOURNAL = "journal:///"
CONNECT_SECONDS = 5  # for a database server to answer
DRIVERS = {"psycopg2": "psycopg2-binary", "psycopg": "psycopg[binary]", "MySQLdb": "mysqlclient", "pymysql": "pymysql"}
"""Packages by the name of their module."""
STORAGE_FORM = (
    f"must be {', '.join(('postgresql+psycopg2://', 'mysql+pymysql://', 'sqlite:///'))} or journal:///shared/run.journal"
)
DATABASES = ("sqlite", "postgresql", "mysql", "mariadb")
FORM_SHOWN = "postgresql+psycopg2://user@host/name"
CONNECT_ARGUMENTS = {"postgresql": "connect_timeout", "mysql": "connect_timeout", "mariadb": "connect_timeout"}


def open_storage(search: Search, folder: RunFolder, *, create: bool) -> RDBStorage | JournalStorage:
    """The storage of the run, quiet; NasError if it is damaged, missing or out of reach."""
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)  # what goes wrong is said once, by storage_errors
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    with storage_errors(search, folder):
        url = _url(search, folder)
        if url.startswith(JOURNAL):
            return JournalStorage(WholeLines(_journal_path(url, create=create)))
        if search.storage is None:
            _check_sqlite(folder, create=create)
        storage = RDBStorage(url, engine_kwargs=_engine_arguments(url), skip_table_creation=not create)
        if storage.engine.dialect.name == "sqlite":
            event.listen(storage.engine, "do_connect", _never_anew)
            if create:
                event.listen(storage.engine, "connect", _use_wal)
            storage.engine.dispose()
            storage.engine.connect().close()  # whoever watches the file must find it in the mode that it stays in
        return storage


def patient(storage: BaseStorage, *, on_wait: Callable[[str], None]) -> PatientStorage:
    """The storage as a search's driver uses it: it outlasts a full disk and a server that is away; `on_wait` hears of it."""
    return PatientStorage(get_storage(storage), on_wait=on_wait)  # type: ignore[abstract]  # its methods are set in a loop


def _url(search: Search, folder: RunFolder) -> str:
    """Where the record lies; a password that was not written into the run's folder comes from the environment."""
    if search.storage is None:
        return URL.create("sqlite", database=str(folder.study_db)).render_as_string()
    return _whole(search.storage, where=f"{folder.search_yaml}: search.storage")


def _whole(url: str, *, where: str) -> str:
    """A URL with its password."""
    if MASK not in url:
        return url
    if not os.environ.get(URL_VARIABLE):
        raise NasError(f"{where}: its password was not written down. Set {URL_VARIABLE} to the whole URL.")
    return os.environ[URL_VARIABLE]


@contextlib.contextmanager
def watched(search: Search, folder: RunFolder, *, before_saving: Callable[[], None] = ignore) -> Iterator[HeldRecord | None]:
    """The open storage's file, watched within the block; None for a database server."""
    held = _held_record(search, folder, before_saving)
    try:
        yield held
    finally:
        if held is not None:
            held.close()


def _held_record(search: Search, folder: RunFolder, before_saving: Callable[[], None]) -> HeldRecord | None:
    url = _url(search, folder)
    if url.startswith(JOURNAL):
        path = _journal_file(url)
        return HeldRecord(path, is_database=False, before_saving=before_saving) if path.exists() else None
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        return None
    return HeldRecord(Path(parsed.database), is_database=True, before_saving=before_saving)


def check_storage(search: Search) -> None:
    """Nothing, if the storage of one's own that the search names can be used; ConfigError or NasError before a run is begun."""
    if search.storage is None:
        return
    url = _whole(search.storage, where="search.storage")
    if url.startswith(JOURNAL):
        _journal_path(url, create=True)
        return
    if url.startswith(SQLITE):
        _check_file(url)
        return
    with storage_errors(search, None):
        engine = create_engine(url, **_engine_arguments(url))
        try:
            engine.connect().close()
        finally:
            engine.dispose()


def _check_file(url: str) -> None:
    """ConfigError or NasError where no SQLite database can be, or another program's is; nothing is made or changed."""
    _dialect(url)
    path = Path(make_url(url).database or "")
    where = f"search.storage: {without_password(url)}"
    if not path.exists():
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise NasError(f"{where}: unable to open database file, because its folder can't be written. Make it.")
        return
    if not path.is_file():
        raise NasError(f"{where}: must be a file, but is something else. Give a file's name.")
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        try:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        except sqlite3.Error as error:
            raise NasError(f"{where}: must be a database, but: {error}. Nothing was changed. Give another --storage.") from None
    if tables and "studies" not in tables:
        raise NasError(f"{where}: must be a database of studies, but is another program's. Give another --storage.")


def _journal_file(url: str) -> Path:
    return Path("/" + url.removeprefix(JOURNAL).lstrip("/"))


def _journal_path(url: str, *, create: bool) -> str:
    path = _journal_file(url)
    if not path.parent.is_dir():
        raise NasError(f"{path}: the journal's folder must exist. Make it, or give another --storage.")
    if path.exists() and not path.is_file():
        raise NasError(f"{path}: the journal must be a file, but this is none. Give a file's name behind {JOURNAL}.")
    if not create and not path.exists():
        raise NasError(f"{path}: there is no such journal, so nothing was trained there. Start the search first.")
    if path.exists() and not is_journal(path):
        raise NasError(f"{path}: is damaged, or no journal of Optuna's at all: so its first line says. Give another name.")
    return str(path)


def _engine_arguments(url: str) -> dict[str, Any]:
    """A server that is away is noticed in seconds, and one that was restarted is connected to again."""
    kind = _dialect(url)
    if kind not in CONNECT_ARGUMENTS:
        return {}
    return {"pool_pre_ping": True, "connect_args": {CONNECT_ARGUMENTS[kind]: CONNECT_SECONDS}}


def _dialect(url: str) -> str:
    """The kind of database behind a URL; ConfigError with the nearest form that works for any other."""
    try:
        parsed = make_url(url)
        kind = parsed.get_backend_name()
        parsed.get_dialect()
    except NoSuchModuleError:
        kind = parsed.drivername.partition("+")[0]
        if kind in ("postgres", "psql"):
            right = without_password(url).replace(parsed.drivername, "postgresql+psycopg2", 1)
            raise ConfigError(f"search.storage: {kind}:// is called postgresql+psycopg2:// here. Write {right}") from None
    except (ArgumentError, ValueError):  # the second for a port that is no number
        raise ConfigError(f"search.storage: {STORAGE_FORM}, but this is no such URL. Write it like {FORM_SHOWN}.") from None
    except ImportError:
        return kind  # of the driver, which is told when the database is opened
    if kind not in DATABASES or (
        kind == "sqlite" and parsed.database in (None, "", ":memory:")
    ):  # it would hold the record in memory
        raise ConfigError(f"search.storage: {STORAGE_FORM}, but got {without_password(url)!r}. Write it like {FORM_SHOWN}.")
    return kind


def close_storage(storage: BaseStorage) -> None:
    """Let go of the storage; SQLite is left as one plain file, which can be copied and read where nothing can be written."""
    engine = getattr(storage, "engine", None)  # a journal holds nothing open
    if engine is None:
        return
    if engine.dialect.name == "sqlite":
        # while somebody reads it, it stays as it is
        with contextlib.suppress(SQLAlchemyError), engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=DELETE")
    engine.dispose()


def _never_anew(_dialect: object, _record: object, arguments: list[Any], options: dict[str, Any]) -> None:
    """Of a database that was removed while in use, a new connection must not make an empty one."""
    if not options.get("uri"):
        arguments[0], options["uri"] = f"{Path(arguments[0]).absolute().as_uri()}?mode=rw", True


def _use_wal(connection: sqlite3.Connection, _: object) -> None:
    """Write-ahead logging halves what a commit costs and lets a reader look while the search writes."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def _check_sqlite(folder: RunFolder, *, create: bool) -> None:
    if not folder.study_db.is_file():
        if folder.study_db.exists():
            raise NasError(f"{folder.study_db}: must be a file, but is something else. Move it away, or choose another --out.")
        if not create:
            raise NasError(f"{folder.root}: holds no study.db, so nothing was trained there. Start the search first.")
        return
    try:
        with contextlib.closing(sqlite3.connect(folder.study_db)) as connection:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        raise NasError(f"{folder.study_db}: cannot be opened: {error}. Check its folder's permissions and disk.") from None
    except sqlite3.DatabaseError as error:
        verdict = str(error)
    if verdict != "ok":
        raise NasError(
            f"{folder.study_db}: is damaged ({verdict}). Nothing was changed. Restore it from a backup, or try "
            f"`sqlite3 {folder.study_db.name} .recover`, or start a new run with another --out."
        )


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Python's garbage collector waits: reading a record makes millions of objects that stay, and it would go through them
    again and again, a third of the time at 10,000 trials."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextlib.contextmanager
def storage_errors(search: Search, folder: RunFolder | None) -> Iterator[None]:
    """What goes wrong in the storage as a NasError; `folder` is the run's, where there is one yet."""
    where = folder.study_db if folder is not None and search.storage is None else without_password(search.storage or "")
    try:
        yield
    except ImportError as error:
        name = getattr(error, "name", None) or getattr(error.__cause__, "name", None)
        if not name or (name not in DRIVERS and name not in (search.storage or "").partition(":")[0]):  # another fault
            raise
        raise NasError(f"{where}: needs a database driver. Install it: pip install {DRIVERS.get(name, name)}") from None
    except json.JSONDecodeError as error:  # of a journal's line
        raise NasError(f"{where}: is damaged: {error}. Nothing was changed. Restore it from a backup.") from None
    except RuntimeError as error:
        if "optuna" not in str(error):  # how Optuna refuses tables of another version
            raise
        raise NasError(f"{where}: was written by another version of Optuna: {error}") from None
    except (optuna.exceptions.StorageInternalError, SQLAlchemyError, sqlite3.Error, OSError) as error:
        if isinstance(error, OSError) and not (search.storage or "").startswith(JOURNAL):
            raise
        why = database_message(error)
        is_new = folder is None or (isinstance(where, Path) and not where.exists())
        safe = "Mend" if is_new else "What was told before is safe; mend"
        why = without_password(why)
        raise NasError(f"{where}: cannot be used: {why}. {safe} this and start the same command again.") from None
