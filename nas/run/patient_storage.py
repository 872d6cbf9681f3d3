"""A storage that waits for its disk or its server instead of ending a night's search."""

import abc
import time
from collections.abc import Callable
from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from nas.errors import in_one_line
from nas.files import PATIENCE_SECONDS
from nas.units import duration

RETRY_PAUSE_SECONDS = (0.2, 5.0)  # between two attempts: the first pause, doubled up to the last
DAMAGE = ("malformed", "not a database", "no such table", "does not exist")


class PassingStorage(BaseStorage):
    """Passes everything on to `backend`: what a storage that does one thing otherwise is made from."""

    def __init__(self, backend: BaseStorage):
        self.backend = backend

    def _passed(self, name: str, *arguments: Any, **named: Any) -> Any:
        return getattr(self.backend, name)(*arguments, **named)


def _passing(name: str) -> Callable:
    def method(self: PassingStorage, *arguments: Any, **named: Any) -> Any:
        return self._passed(name, *arguments, **named)

    return method


for _name in (name for name in dir(BaseStorage) if not name.startswith("_") and callable(getattr(BaseStorage, name))):
    setattr(PassingStorage, _name, _passing(_name))
abc.update_abstractmethods(PassingStorage)  # type: ignore[type-abstract]  # from here on it is no longer abstract


class PatientStorage(PassingStorage):
    """Passes everything on to `backend`, and again for up to ten minutes while that cannot be reached or written.

    Every call is one transaction of the backend's, so that one that failed has done nothing. `on_wait` hears, once for each
    outage, in words, what is waited for; what it raises ends the waiting.
    """

    def __init__(self, backend: BaseStorage, *, on_wait: Callable[[str], None]):
        super().__init__(backend)
        self._on_wait = on_wait

    def _passed(self, name: str, *arguments: Any, **named: Any) -> Any:
        began, pause, announced = time.monotonic(), RETRY_PAUSE_SECONDS[0], False
        while True:
            try:
                return super()._passed(name, *arguments, **named)
            except (StorageInternalError, DBAPIError, OSError) as error:
                if not may_pass(error) or time.monotonic() - began > PATIENCE_SECONDS:
                    raise
                self._on_wait("" if announced else _announced(error))
                announced = True
            time.sleep(pause)
            pause = min(2 * pause, RETRY_PAUSE_SECONDS[1])


def may_pass(error: Exception) -> bool:
    """Whether waiting may help: a disk that is full or read-only, a server that is away; not damage, not a wrong statement."""
    if isinstance(error, OSError):
        return True
    cause = error if isinstance(error, DBAPIError) else error.__cause__
    return isinstance(cause, OperationalError | InterfaceError) and not any(sign in str(cause) for sign in DAMAGE)


def database_message(error: Exception) -> str:
    """What a database's own driver says, out of what Optuna and SQLAlchemy wrap around it."""
    return in_one_line(getattr(error.__cause__, "orig", None) or getattr(error, "orig", None) or error, most=200)


def _announced(error: Exception) -> str:
    why = database_message(error)
    return f"the record cannot be used ({why}); trying again for {duration(PATIENCE_SECONDS)}"
