"""A folder for the files and sockets of a Ray that a search starts for itself: short, private, gone at the end."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from nas.errors import NasError

MAX_SOCKET_BYTES = 107 if sys.platform.startswith("linux") else 103  # of a Unix socket's path
INSIDE = "/r/session_2026-01-31_23-59-59_123456_1234567/sockets/plasma_store"  # the longest that Ray makes there
PREFIX = "ray"
RANDOM = 8  # characters that tempfile adds
LONGEST = MAX_SOCKET_BYTES - len(INSIDE) - len("/" + PREFIX) - RANDOM  # bytes of a folder's path
SHORT_PLACES = ("/tmp", "/var/tmp", "/dev/shm")
VARIABLES = ("RAY_TMPDIR", "TMPDIR")


@contextlib.contextmanager
def short_folder() -> Iterator[str]:
    """A new folder in the first place that can be written and is short enough for Ray's sockets; NasError where none is."""
    with _made() as private:
        yield os.path.join(private, "r")  # Ray makes it, and opens it to everybody


def _made() -> "tempfile.TemporaryDirectory[str]":
    reasons = []
    for place in _places():
        if len(os.fsencode(place)) > LONGEST:
            reasons.append(f"{place} is longer than {LONGEST} bytes, so that the paths of Ray's sockets in it were too long")
            continue
        try:
            return tempfile.TemporaryDirectory(dir=place, prefix=PREFIX, ignore_cleanup_errors=True)
        except OSError as error:
            reasons.append(f"{place}: {error.strerror}")
    raise NasError(
        f"Ray must have a folder for its sockets, but none will do: {'; '.join(reasons)}. "
        f"Set {VARIABLES[0]} to a folder that can be written and whose path has at most {LONGEST} bytes."
    )


def _places() -> list[str]:
    """What the user's variables name, then what systems have."""
    asked = [str(Path(os.environ[name]).absolute()) for name in VARIABLES if os.environ.get(name)]
    return list(dict.fromkeys([*asked, *SHORT_PLACES]))
