"""A teacher's answers, kept on this machine: trainings of equal seed see the same augmented batches, whatever they train."""

import hashlib
import platform
import sqlite3
import zlib
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from nas.data.cache import teachers_folder
from nas.errors import NasError
from nas.models.weights import weights_digest
from nas.recipes.recipe import Recipe

MOST_BYTES = 2**31  # of the answers of one teacher, after which no more are kept
PROBE_IMAGES = 4  # images by whose logits a teacher is known
OTHERS_WRITE_SECONDS = 5.0  # at most, while this waits
TABLE = "CREATE TABLE IF NOT EXISTS answers (batch BLOB PRIMARY KEY, logits BLOB NOT NULL) WITHOUT ROWID"


class Remembering:
    """A teacher on the CPU that answers a batch `(B, 3, H, W)` with logits `(B, classes)`, asked before or not.

    What goes wrong with the file costs time, never the training: then the teacher is asked.
    """

    def __init__(self, teacher: nn.Module, recipe: Recipe):
        self.teacher = teacher
        self._path: Path | None = None
        self._kept: sqlite3.Connection | None = None
        with suppress(OSError, sqlite3.Error, NasError):
            self._path = teachers_folder() / f"{_identity(teacher, recipe)}.sqlite"
            self._kept = _opened(self._path)

    def __call__(self, images: Tensor) -> Tensor:
        if self._kept is None:
            return self.teacher(images)
        batch = hashlib.sha256(str(tuple(images.shape)).encode() + images.numpy().tobytes()).digest()
        logits = self._read(batch, len(images))
        if logits is None:
            logits = self.teacher(images).float()
            self._keep(batch, logits)
        return logits

    def _read(self, batch: bytes, number: int) -> Tensor | None:
        """None where the batch is new, or what is kept of it is damaged."""
        row = self._tried("SELECT logits FROM answers WHERE batch = ?", batch)
        if row is None or not isinstance(row[0], bytes) or zlib.crc32(row[0][4:]).to_bytes(4) != row[0][:4]:
            return None
        return torch.from_numpy(np.frombuffer(row[0], np.float32, offset=4).reshape(number, -1).copy())

    def _keep(self, batch: bytes, logits: Tensor) -> None:
        with suppress(OSError):
            if self._path is not None and self._path.stat().st_size < MOST_BYTES:
                content = logits.contiguous().numpy().tobytes()
                self._tried("INSERT OR REPLACE INTO answers VALUES (?, ?)", batch, zlib.crc32(content).to_bytes(4) + content)

    def _tried(self, statement: str, *values: bytes) -> tuple[bytes, ...] | None:
        """The first row that a statement gives; after an error the file is not used any more."""
        if self._kept is None:
            return None
        try:
            return self._kept.execute(statement, values).fetchone()
        except sqlite3.Error as error:
            self._kept = None
            if _is_damage(error) and self._path is not None:
                with suppress(OSError):
                    _remove(self._path)  # others that have it open go on with theirs
            return None


def _opened(path: Path) -> sqlite3.Connection:
    """The file, made anew where it is damaged as far as SQLite sees; sqlite3.Error where it can't be used."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connect = partial(sqlite3.connect, path, timeout=OTHERS_WRITE_SECONDS, isolation_level=None)
    try:
        return _prepared(connect())
    except sqlite3.Error as error:
        if not _is_damage(error):
            raise  # locked, no room, no rights
    _remove(path)
    return _prepared(connect())


def _is_damage(error: sqlite3.Error) -> bool:
    """Whether the file holds something else than SQLite wrote; an extended code has the plain one in its last byte."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _remove(path: Path) -> None:
    for part in ("", "-wal", "-shm"):
        path.with_name(path.name + part).unlink(missing_ok=True)


def _prepared(kept: sqlite3.Connection) -> sqlite3.Connection:
    for statement in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = NORMAL", TABLE):
        kept.execute(statement)
    return kept


def _identity(teacher: nn.Module, recipe: Recipe) -> str:
    """Equal for teachers of equal weights that answer alike on this machine, in the same arithmetic."""
    draws = torch.Generator().manual_seed(0)
    probes = torch.randn(PROBE_IMAGES, 3, recipe.full_size, recipe.full_size, generator=draws)
    with torch.no_grad():
        logits = teacher(probes)
    arithmetic = (torch.__version__, torch.backends.cpu.get_cpu_capability(), recipe.precision, recipe.channels_last)
    known_by = [platform.node(), *arithmetic, weights_digest(teacher.state_dict())]
    return hashlib.sha256(repr(known_by).encode() + logits.float().numpy().tobytes()).hexdigest()[:16]
