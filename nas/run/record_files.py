"""The files in which a record lies: a journal that survives kills, and any file that is watched while it is written.

Cleaners, sync tools and restores remove files that are in use; what is then written goes into a file without a name.
"""

import json
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from optuna.storages.journal import JournalFileBackend

from nas.errors import NasError
from nas.files import KernelLock, writable
from nas.terminal import pasteable

FIRST_WORDS = b'{"op_code":'  # of a journal
LONGEST_LINE = 2**20  # bytes of a journal's first line
FileIdentity = tuple[int, int]  # device and number of a file, whatever it is called


class WholeLines(JournalFileBackend):
    """A journal in which a line that a kill or a full disk cut short is taken back before the next one is written."""

    def __init__(self, path: str):
        # what Optuna's annotation asks for is a class of its own that it does not export; it calls these two methods
        super().__init__(path, lock_obj=KernelLock(f"{path}.lock"))  # type: ignore[arg-type]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write `logs` behind the last whole line; OSError, and nothing is changed, where the disk is full."""
        self._lock.acquire()
        try:
            _drop_half_line(Path(self._file_path))
        finally:
            self._lock.release()
        super().append_logs(logs)


def is_journal(path: Path) -> bool:
    """Whether a file is empty, or begins as Optuna's journals do: with a line of JSON that says what was done, and by whom."""
    with path.open("rb") as file:
        line = file.readline(LONGEST_LINE)
    try:
        entry = json.loads(line) if line else {"op_code": 0, "worker_id": ""}
    except (ValueError, RecursionError):  # or a first line that a kill cut short
        return b"\n" not in line and line[: len(FIRST_WORDS)] == FIRST_WORDS[: len(line)]
    return isinstance(entry, dict) and {"op_code", "worker_id"} <= entry.keys()


def _drop_half_line(path: Path) -> None:
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        start = end
        while start and _byte(file, start - 1) != b"\n":
            start -= 1
        if start < end:
            file.truncate(start)


def _byte(file: Any, position: int) -> bytes:
    file.seek(position)
    return file.read(1)


class HeldRecord:
    """A record that one process writes, from its opening on; `before_saving` brings back what else its folder needs.

    A database is opened by SQLite alone: any other handle of this process, once closed, takes SQLite's locks with it, and a
    reader elsewhere would put away the log that is being written (https://sqlite.org/howtocorrupt.html, section 2.2).
    """

    def __init__(self, path: Path, *, is_database: bool, before_saving: Callable[[], None] = lambda: None):
        self.path, self._before_saving = path, before_saving
        self._identity = _identity(path)
        self._file: IO[bytes] | None = None
        self._database: sqlite3.Connection | None = None
        self._trouble: str | None = None
        self._one_at_a_time = threading.Lock()
        if is_database:
            self._database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)
            self._database.execute("SELECT count(*) FROM sqlite_master").fetchone()  # or its journal is not open yet
        else:
            self._file = path.open("rb")

    def check(self) -> None:
        """NasError where another file, or none, has the record's name by now; what it held is then saved, once.

        Any thread may look; a file system that does not answer says nothing.
        """
        with self._one_at_a_time:
            if self._trouble is None and not self._is_in_place():
                self._trouble = self._saved()
        if self._trouble is not None:
            raise NasError(self._trouble)

    def close(self) -> None:
        """Let go of the file."""
        for handle in (self._file, self._database):
            if handle is not None:
                handle.close()

    def _is_in_place(self) -> bool:
        try:
            return _identity(self.path) == self._identity
        except OSError:
            return True

    def _saved(self) -> str:
        """Saves what the record held under a name beside, and says so."""
        what = "was replaced by another file" if os.path.lexists(self.path) else "was removed"
        head = f"{self.path}: {what} while this process wrote it, perhaps by a cleaner, a sync tool or a restore."
        copy = self.path.with_name(f"{self.path.stem}-saved-{datetime.now(UTC):%Y%m%d-%H%M%S}{self.path.suffix}")
        try:
            with writable(copy):
                copy.parent.mkdir(parents=True, exist_ok=True)
                self._before_saving()
                self._copy_to(copy)
        except (NasError, sqlite3.Error) as error:
            return f"{head} What it held could not be saved: {error}"
        aside = [pasteable("mv", self.path, f"{copy}.found")] if self.path.is_dir() else []  # or mv would put it inside
        back = " && ".join([*aside, pasteable("mv", copy, self.path)])
        return f"{head} What it held is saved in {copy}. Put it back, and the same command continues: {back}"

    def _copy_to(self, copy: Path) -> None:
        if self._database is not None:
            target = sqlite3.connect(copy)
            self._database.backup(target)
            target.close()
        elif self._file is not None:
            self._file.seek(0)
            with copy.open("wb") as target_file:
                shutil.copyfileobj(self._file, target_file)


def _identity(path: Path) -> FileIdentity | None:
    """None where there is no such file; OSError where nobody can say."""
    try:
        stat = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return stat.st_dev, stat.st_ino
