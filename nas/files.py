"""Files that are written whole or not at all."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nas.errors import NasError

PATIENCE_SECONDS = 600.0
PAUSE_SECONDS = 2.0


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


def write_whole(path: Path, text: str) -> None:
    """`text` as the file `path`: a reader sees the old file or the new one, never half; NasError where it can't be written."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of `path` in one step at the end; NasError where it can't be written."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with writable(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """What keeps `path` from being written as one message."""
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        raise NasError(f"{path}: must be writable, but: {why}. Free the disk or choose another folder.") from None
