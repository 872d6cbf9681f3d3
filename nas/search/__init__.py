"""What to train next, and the search that trains it. Called as a function, `nas.search("hybrid")`, it begins one."""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what can be called so stands above this package
    from collections.abc import Mapping

    from torch.utils.data import Dataset


class _Callable(ModuleType):
    """A package that can be called: `nas.search` is this one's name and the function's."""

    def __call__(
        self,
        space: "str | Path | Mapping[str, Any]",
        *,
        data: "str | Path | Dataset | tuple[Any, Any] | None" = None,
        trials: int | None = None,
        out: str | Path | None = None,
        seed: int | None = None,
        workers: int | None = None,
        address: str | None = None,
        settings: "Mapping[str, Any] | None" = None,
        quiet: bool = False,
    ) -> Any:
        """The run of a search, begun, or continued where it was stopped: `nas.interface.searching.run_of`."""
        run_of = import_module("nas.interface.searching").run_of
        return run_of(
            space,
            data=data,
            trials=trials,
            out=out,
            seed=seed,
            workers=workers,
            address=address,
            settings=settings,
            quiet=quiet,
        )


sys.modules[__name__].__class__ = _Callable
