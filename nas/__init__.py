"""Neural architecture search over MetaFormer designs: `nas.search(...)` begins or continues one, `nas.Run(...)` opens one.

Both are in `nas.interface`; nothing is imported before they are asked for.

.. include:: ../README.md
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nas.interface.run import SearchRun

    Run = SearchRun

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """What this package shows, imported when it is first asked for. https://peps.python.org/pep-0562/"""
    if name == "search":
        return import_module("nas.search")
    if name == "Run":
        return import_module("nas.interface.run").SearchRun
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
