"""Optuna's journal file, made safe against kills: a lock that dies with its holder, and no half line."""

import os
from pathlib import Path
from typing import Any

from filelock import FileLock
from optuna.storages.journal import JournalFileBackend


class KernelLock:
    """A lock that the kernel frees when its holder is killed; Optuna's own stays for half a minute then."""

    def __init__(self, path: str):
        self._lock = FileLock(f"{path}.lock")

    def acquire(self) -> bool:
        """Wait for the lock."""
        self._lock.acquire()
        return True

    def release(self) -> None:
        """Let the next one in."""
        self._lock.release()


class WholeLines(JournalFileBackend):
    """A journal in which a line that a kill or a full disk cut short is taken back before the next one is written."""

    def __init__(self, path: str):
        # what Optuna's annotation asks for is a class of its own that it does not export; it calls these two methods
        super().__init__(path, lock_obj=KernelLock(path))  # type: ignore[arg-type]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write `logs` behind the last whole line; OSError, and nothing is changed, where the disk is full."""
        self._lock.acquire()
        try:
            _drop_half_line(Path(self._file_path))
        finally:
            self._lock.release()
        super().append_logs(logs)


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
