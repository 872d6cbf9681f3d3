"""A plugin's code, run once a process, and only where it may be."""

import hashlib
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from types import ModuleType

from nas.errors import ConfigError, NasError, in_one_line

_IS_READING = ContextVar("_IS_READING", default=False)


@contextmanager
def no_plugin_runs() -> Iterator[None]:
    """Within, no plugin's code is run: for what only reads a run, which may be somebody else's."""
    before = _IS_READING.set(True)
    try:
        yield
    finally:
        _IS_READING.reset(before)


def module_of(source: str, file: str) -> ModuleType:
    """The module of a plugin's source; ConfigError where it can't be imported, NasError where no plugin may run."""
    if _IS_READING.get():
        raise NasError(
            f"{file}: its code would have to run, but reading a run runs no plugin: its search.yaml must hold the plugin as a "
            "search writes it, costs included. Restore that file."
        )
    return _executed(source, file)


@cache
def _executed(source: str, file: str) -> ModuleType:
    name = f"nas_plugin_{digest_of(source)}"
    module = sys.modules[name] = ModuleType(name)
    module.__file__ = file
    try:
        exec(compile(source, file, "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        last = traceback.extract_tb(error.__traceback__)[-1]
        at, line = (error.filename, error.lineno) if isinstance(error, SyntaxError) else (last.filename, last.lineno)
        place = f"line {line}" if at == file else f"{at}, line {line}"
        why = traceback.format_exception_only(error)[-1].strip()
        raise ConfigError(f"{file}: can't be imported: {place}: {in_one_line(why).rstrip('.')}. Mend the plugin.") from None
    return module


def digest_of(source: str) -> str:
    """The SHA-256 of a plugin's text, in hexadecimal digits."""
    return hashlib.sha256(source.encode()).hexdigest()
