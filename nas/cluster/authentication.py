"""The token that Ray (2.59 and later) asks of everyone who reaches its ports, and the mode in which this process shows it.

Both are variables of the environment, which Ray's own processes inherit. A Ray that a search starts for itself has a token
of its own, which is written nowhere; a cluster has the one that its head was started with, or none.
"""

import contextlib
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nas.cluster.quiet import ray
from nas.errors import NasError

MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
KUBERNETES = "RAY_ENABLE_K8S_TOKEN_AUTH"  # the pod's own token, which Kubernetes judges
WITH_TOKEN, WITHOUT = "token", "disabled"
DEFAULT_FILE = "~/.ray/auth_token"
TOKEN_SOURCES = f"{TOKEN}, a file that {TOKEN_PATH} names, or {DEFAULT_FILE}"


def asked_mode() -> str | None:
    """The mode that the user set, None where he left it to us; NasError for a word that Ray would take for "disabled"."""
    mode = os.environ.get(MODE, "").lower()
    if mode not in ("", WITH_TOKEN, WITHOUT):
        raise NasError(f"{MODE} must be {WITH_TOKEN} or {WITHOUT}, but is {mode[:40]!r}. Set one of them, or none.")
    return mode or None


def token_source() -> str | None:
    """Where this process's token for a cluster comes from, in Ray's order; None where there is none.

    NasError for a variable that names a file without one.
    """
    if os.environ.get(KUBERNETES, "").lower() in ("1", "true"):
        return f"the pod's service account ({KUBERNETES})"
    if os.environ.get(TOKEN):
        return TOKEN
    if path := os.environ.get(TOKEN_PATH):
        if not _has_text(path):
            raise NasError(f"{TOKEN_PATH} must name a file with Ray's token, but {path} cannot be read or is empty. Mend it.")
        return f"{path} ({TOKEN_PATH})"
    return DEFAULT_FILE if _has_text(os.path.expanduser(DEFAULT_FILE)) else None


def _has_text(path: str) -> bool:
    with contextlib.suppress(OSError, UnicodeError):
        return bool(Path(path).read_text().strip())
    return False


def own_token() -> dict[str, str]:
    """The variables of a Ray that belongs to this process alone: a new token, unless the user has switched tokens off."""
    if asked_mode() == WITHOUT:
        return {MODE: WITHOUT}
    return {MODE: WITH_TOKEN, TOKEN: secrets.token_hex(32), KUBERNETES: "0"}


@contextlib.contextmanager
def shown(variables: Mapping[str, str]) -> Iterator[None]:
    """These variables in the environment, and in what Ray has read of it, until the block ends."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    _read_again(token=True)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        _read_again(token=False)  # Ray's last threads may still ask for the token, and would end the process if it were gone


def _read_again(*, token: bool) -> None:
    raylet: Any = ray._raylet
    raylet.Config.initialize("")
    if token and hasattr(raylet, "AuthenticationTokenLoader"):  # not before Ray 2.52
        raylet.AuthenticationTokenLoader.instance().reset_cache()
