"""Files that are written whole or not at all."""

import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from nas.errors import NasError

PATIENCE_SECONDS = 600.0
PAUSE_SECONDS = 2.0
WAY_OUT = "Free the disk or choose another folder"
warnings.filterwarnings(
    "ignore", "flock not supported on this filesystem", UserWarning
)  # filelock then takes a file for a lock


def at_home(path: str) -> str:
    """A path with the home folder in the place of its ~, which a shell leaves as it is behind an equals sign.

    NasError for the home of a user that doesn't exist; a file that is really called so is meant where there is one.
    """
    if not path.startswith("~") or os.path.lexists(path):
        return path
    expanded = os.path.expanduser(path)
    if expanded == path:
        raise NasError(f"{path}: there is no home folder for {path.partition('/')[0]}. Write the path in full, or ./{path}.")
    return expanded


def in_utf8(path: str) -> str:
    """The path itself; NasError for a name that no YAML, URL or page could hold, because its bytes are no UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        raise NasError(f"{path}: must be named in UTF-8. Rename it, or give a link to it that is.") from None
    return path


def patiently(write: Callable[[], None]) -> None:
    """Call `write`, and again for up to ten minutes while it says that the disk is full or out of reach."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return write()
        except NasError:
            if time.monotonic() > until:
                raise
        time.sleep(PAUSE_SECONDS)


def in_home(path: str | Path, *, way_out: str) -> Path:
    """The path with the home of its user for "~"; NasError where he has none, as in a container without his name."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise NasError(f"{path}: must lie in a user's home, but this machine knows of none. {way_out}.") from None


def write_whole(path: Path, text: str, *, way_out: str = WAY_OUT) -> None:
    """`text` as the file `path`: a reader sees the old file or the new one, never half; NasError where it can't be written."""
    with replacing(path, way_out=way_out) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def replacing(path: Path, *, way_out: str = WAY_OUT) -> Iterator[Path]:
    """A path to write to, which takes the place of `path` in one step at the end; NasError where it can't be written."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with writable(path, way_out=way_out):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def writable(path: Path, *, way_out: str = WAY_OUT) -> Iterator[None]:
    """What keeps `path` from being written as one message, with its way out."""
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        raise NasError(f"{path}: must be writable, but: {why}. {way_out}.") from None


class KernelLock:
    """A lock on a file, beside what it guards, that the kernel frees when its holder is killed.

    On a disk that knows no locks a file that is there stands for one, as filelock has it.
    """

    def __init__(self, path: str | Path, *, mode: int | None = None):
        self.path = Path(path)
        self._lock = FileLock(path) if mode is None else FileLock(path, mode=mode)

    def acquire(self, seconds: float = -1) -> bool:
        """Wait for the lock, at most so long: filelock.Timeout then. NasError where it can't be made, or the disk has none."""
        try:
            self._lock.acquire(timeout=seconds)
        except Timeout:  # an OSError too
            raise
        except (OSError, NotImplementedError) as error:  # the second of older filelocks
            raise NasError(
                f"{self.path}: must be writable, but: {getattr(error, 'strerror', None) or error}. Choose a folder on a disk "
                "that has room and locks; some network disks have none."
            ) from None
        return True

    def release(self) -> None:
        """Let the next one in."""
        self._lock.release()

    def __enter__(self) -> "KernelLock":
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
