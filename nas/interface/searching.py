"""A search from a program or a notebook: the settings that the command line has, as arguments."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from nas.config.text import dump_yaml
from nas.errors import NasError
from nas.interface.images import path_of
from nas.interface.run import SearchRun, checked_settings, shown_console
from nas.run.settings.search import Search, read_search, search_in

if TYPE_CHECKING:
    from torch.utils.data import Dataset


def run_of(
    space: str | Path | Mapping[str, Any],
    *,
    data: "str | Path | Dataset | tuple[Any, Any] | None" = None,
    trials: int | None = None,
    out: str | Path | None = None,
    seed: int | None = None,
    workers: int | None = None,
    address: str | None = None,
    settings: Mapping[str, Any] | None = None,
    quiet: bool = False,
) -> SearchRun:
    """The run of a search, begun in the folder `out` (runs/NAME), or continued there where it was stopped or killed.

    `space` is a shipped space's name, a YAML file, or what such a file holds as a mapping. `data` is a path or name as in the
    YAML, a torch data set whose items are (image, label), or a pair of arrays (images, labels): see `nas.interface.images`.
    `settings` holds anything else of the YAML, nested or by dotted paths: `{"proxy.epochs": 4}`. What the YAML would be refused
    for is a NasError with the same message. An interrupt stops the search; the same call goes on.
    """
    if not isinstance(space, str | Path | Mapping):
        raise NasError(
            f"space: must be a shipped space's name, a YAML file or a mapping, but got {type(space).__name__}. Give one."
        )
    own = {"search.trials": trials, "search.seed": seed, "resources.workers": workers, "resources.address": address,
           "proxy.data": path_of(data)}  # fmt: skip
    changes = {**{name: value for name, value in own.items() if value is not None}, **checked_settings(settings)}
    read = _settings(space, changes)
    root = Path(out) if out is not None else Path("runs") / read.name
    with shown_console(quiet=quiet) as console:
        whole_search(read, root=root, console=console)
    return SearchRun(root)


def whole_search(settings: Search, *, root: Path, console: Console) -> None:
    """All that the verb search does: the search, the replicates and latencies that it asks for, and what is said at the end."""
    from nas.report.ending import show_result  # Ray takes seconds: a wrong file is said before
    from nas.search.loggers import check_packages
    from nas.search.run import run_search
    from nas.winners.on_device import measure_devices
    from nas.winners.replication import replicate_front

    check_packages(settings.log)
    run_search(settings, root=root, console=console)
    if settings.replicates:
        replicate_front(settings, root=root, console=console)
    if settings.devices:
        measure_devices(settings, root=root, console=console)
    show_result(settings, root=root, console=console)


def _settings(space: str | Path | Mapping[str, Any], changes: Mapping[str, Any]) -> Search:
    """The search that a name, a file or a mapping describes, with the changes laid over it; None is YAML's null."""
    written = [f"{path}={dump_yaml(value)}" for path, value in changes.items()]
    if isinstance(space, Mapping):
        return search_in(dict(space), settings=written)
    return read_search(space, settings=written)
