"""A run as an object: its trials and front as pandas tables, its networks as modules, trained longer, and exported."""

import operator
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nas.config.text import dump_yaml
from nas.errors import NasError, shortened
from nas.interface.images import path_of
from nas.run.folder import QUICK_RECIPE, read_run, retrain_settings
from nas.run.settings.search import Search
from nas.space.plugins.code import no_plugin_runs
from nas.terminal import Terminal

if TYPE_CHECKING:  # a run is opened without what its tables and networks need
    import pandas as pd
    from torch import nn
    from torch.utils.data import Dataset

    from nas.retraining.folder import Result
    from nas.winners.lookup import Trained


@contextmanager
def shown_console(*, quiet: bool) -> Iterator[Terminal]:
    """Where progress is shown: as in a terminal, in a notebook a line an event. An interrupt is passed on in few words."""
    is_notebook = "ipykernel" in sys.modules  # which calls itself a terminal, but can't move the cursor
    console = Terminal(quiet=quiet, lasting=True, force_jupyter=False, force_terminal=False if is_notebook else None)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="IProgress not found")  # a bar of tqdm's, which nothing here draws
            yield console
    except KeyboardInterrupt:
        console.print("Stopped. Nothing that finished is lost; the same call continues.", soft_wrap=True)
        raise KeyboardInterrupt("stopped; the same call continues") from None


def checked_settings(settings: Any) -> Mapping[str, Any]:
    """Settings as they were given, none for None; NasError for what is no mapping."""
    if settings is not None and not isinstance(settings, Mapping):
        raise NasError(
            f"settings: must be a mapping such as {{'proxy.epochs': 4}}, but got {shortened(repr(settings))}. Give one."
        )
    return settings or {}


def _folder(path: Any, name: str) -> Path:
    """A folder that was given; NasError for what is no path."""
    if not isinstance(path, str | os.PathLike):
        raise NasError(f"{name}: must be the path of a folder, but got {shortened(repr(path))}. Give one.")
    return Path(path)


def _trial_number(trial: Any) -> int:
    """A trial's number; NasError for what is none."""
    try:
        if isinstance(trial, bool):
            raise TypeError
        return operator.index(trial)
    except TypeError:
        raise NasError(
            f"trial: must be a whole number, as in the column trial of front(), but got {shortened(repr(trial))}. Give one."
        ) from None


class Retrained(NamedTuple):
    """A network that was trained at full scale."""

    path: Path
    """Its folder."""
    result: "Result"
    """`accuracy` is top-1 on the test split as a fraction."""

    def model(self) -> "nn.Module":
        """The network with its weights, in eval mode."""
        from nas.retraining.folder import trained_folder

        return _network(trained_folder(self.path))

    def export(self, out: str | Path, *, formats: Sequence[str] = (), force: bool = False) -> Path:
        """The directory `out` that timm loads, proved in a fresh process; NasError where that fails."""
        from nas.retraining.folder import trained_folder

        return _exported(trained_folder(self.path), out, formats=formats, force=force)


class SearchRun:
    """A run in a folder, finished or not: every method reads what is there now."""

    def __init__(self, path: str | Path):
        """Opens the run in the folder `path`; ConfigError where there is none."""
        self.path = _folder(path, "path")
        read_run(self.path)

    def __repr__(self) -> str:
        return f"nas.Run({str(self.path)!r})"

    @property
    def settings(self) -> Search:
        """The search, everything resolved."""
        return read_run(self.path)[1]

    def trials(self) -> "pd.DataFrame":
        """A row a trial, as `nas.results.front.load` describes it."""
        from nas.results.front import load

        with no_plugin_runs():
            return load(self.path)

    def front(self, *objectives: str) -> "pd.DataFrame":
        """The rows of the front, cheapest first, as `nas front` shows it; or that of one or two other costs and an accuracy."""
        from nas.results.front import front

        with no_plugin_runs():
            chosen = objectives or (*self.settings.objectives[1:], "expected")
            first, *others = chosen
            return front(self.trials(), first, *([others[-1]] if others else []), *others[:-1])

    def report(self, out: str | Path | None = None) -> Path:
        """The page report.html, written into the run or into another folder."""
        from nas.report.page import write_report

        with no_plugin_runs():
            return write_report(self.path, Terminal(quiet=True), out=None if out is None else Path(out))

    def model(self, trial: int) -> "nn.Module":
        """A trial's network with the proxy's weights, in eval mode; NasError where they were not kept."""
        return _network(self._trained(trial))

    def export(self, trial: int, out: str | Path, *, formats: Sequence[str] = (), force: bool = False) -> Path:
        """The directory `out` that timm loads, proved in a fresh process; NasError where that fails."""
        return _exported(self._trained(trial), out, formats=formats, force=force)

    def retrain(
        self,
        trial: int,
        out: str | Path,
        *,
        recipe: str | Path = QUICK_RECIPE,
        data: "str | Path | Dataset | tuple[Any, Any] | None" = None,
        seed: int = 0,
        device: str = "auto",
        settings: Mapping[str, Any] | None = None,
        quiet: bool = False,
    ) -> Retrained:
        """A trial trained at full scale in the folder `out`, on the search's own data unless `data` names other; the same call
        goes on where it was stopped. `settings` lays values over the recipe, by dotted paths."""
        from nas.recipes.full import read_full_recipe
        from nas.retraining.command import Machines, Order, show_retraining
        from nas.retraining.folder import result_in
        from nas.retraining.train import checked
        from nas.winners.selection import selected

        changes = {
            **retrain_settings(self.settings),
            **({} if data is None else {"data": path_of(data)}),
            **checked_settings(settings),
        }
        read = checked(read_full_recipe(recipe, settings=[f"{name}={dump_yaml(value)}" for name, value in changes.items()]))
        (network,) = selected(str(self.path), trial=_trial_number(trial), knee=False, front=False)
        with shown_console(quiet=quiet) as console:
            show_retraining(network, Order(read, _folder(out, "out"), seed, device), Machines(), console=console)
        return Retrained(Path(out), result_in(Path(out)))

    def _trained(self, trial: int) -> "Trained":
        from nas.winners.lookup import trained_trial

        return trained_trial(self.path, _trial_number(trial))


def _network(trained: "Trained") -> "nn.Module":
    from nas.models.metaformer import build
    from nas.training.trained import read_weights

    classes = len(trained.manifest.class_names)
    network = build(trained.architecture, image_size=trained.recipe.full_size, num_classes=classes)
    network.load_state_dict(read_weights(trained.weights))
    return network.eval()


def _exported(trained: "Trained", out: str | Path, *, formats: Sequence[str], force: bool) -> Path:
    from nas.winners.export import export_trained

    export_trained(trained, _folder(out, "out"), formats=formats, force=force)
    return Path(out)
