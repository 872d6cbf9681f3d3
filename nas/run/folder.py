"""What lies in a run's folder, and whether a search may go on in it."""

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from filelock import Timeout

from nas import __version__
from nas.config.layers import changed_settings, rooted
from nas.config.text import dump_yaml, mapping_in, parse_yaml, read_text
from nas.config.values import validated
from nas.devices.device_file import DeviceFile
from nas.errors import ConfigError, NasError, few
from nas.files import KernelLock, write_whole
from nas.passwords import without_password
from nas.recipes.recipe import Recipe
from nas.run.settings.search import RUN_FACTS, Search
from nas.space.plugins.code import no_plugin_runs
from nas.space.plugins.plugin import PLUGINS_FOLDER
from nas.terminal import command

# how much, where, and what a search does not read; the manifest says which data
PLUGIN_SETTINGS = "space.plugins"
MAY_CHANGE = (
    *(
        f"search.{name}"
        for name in ("trials", "replicates", "learn_from", "log", "cache", "storage", "max_hours", "max_gpu_hours", "stop")
    ),
    *("resources", "proxy.data", "calibration"),
)
QUICK_RECIPE = "digits_quick"  # the shipped recipe that suits any data and machine
ITS_IMAGES = ("classes", "unreadable_share", "keep_copies", "white", "max_pixels", "flip")
"""What a retraining takes over from a search's proxy, so that it learns from the same kind of images."""
WRITTEN_SECTIONS = ("name", "space", "constraints", "objectives", "baselines", "search", "proxy", "resources", "calibration")
"""What every search.yaml of a run holds; one that lacks some was cut short, and has no defaults there."""
VERSIONED = ("torch", "timm", "optuna", "ray", "numpy")


class RunFolder(NamedTuple):
    """The paths of one run."""

    root: Path

    @property
    def search_yaml(self) -> Path:
        """Everything resolved: the search, its versions, when it began."""
        return self.root / "search.yaml"

    @property
    def study_db(self) -> Path:
        """The record, unless --storage put it elsewhere."""
        return self.root / "study.db"

    @property
    def manifest(self) -> Path:
        """Which images the search trains and validates on."""
        return self.root / "manifest.json"

    @property
    def calibration(self) -> Path:
        """What `nas calibrate` trained and found."""
        return self.root / "calibration"

    @property
    def has_weights(self) -> bool:
        """Whether a search left weights here."""
        return any(self.weights(0).parent.glob("*.safetensors"))

    def weights(self, number: int) -> Path:
        """Final proxy weights of a trial; only those near the front and of the baselines are kept."""
        return self.root / "weights" / f"{number}.safetensors"

    def checkpoint(self, number: int) -> Path:
        """From where a trial goes on whose training was interrupted; only running trials have one."""
        return self.root / "checkpoints" / f"{number}.pt"


def versions() -> dict[str, str]:
    """Of this package and of the libraries that a result depends on."""
    return {"nas": __version__, **{name: _installed(name) for name in VERSIONED}}


@cache
def _installed(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "absent"


def open_folder(root: Path, search: Search) -> RunFolder:
    """The run's folder, made if it is new; ConfigError if it holds a different search, or cannot be written."""
    check_folder(root, search)
    return restored_folder(root, search)


def check_folder(root: Path, search: Search) -> RunFolder:
    """The run's folder, as it is; ConfigError if it holds a different search, or something else."""
    folder = RunFolder(Path(root))
    if folder.search_yaml.exists():
        if RUN_FACTS not in mapping_in(folder.search_yaml):
            raise ConfigError(
                f"{folder.search_yaml}: must be what a search wrote (run: ...), but is a file of your own, which would be "
                "overwritten. Choose another --out."
            )
        check_same(plain_search(read_run(folder.root)[1]), plain_search(search), where=str(folder.root))
    elif folder.root.is_dir() and any(p for p in folder.root.iterdir() if not p.name.startswith(".")):
        raise ConfigError(f"{folder.root}: is not empty and holds no search.yaml, so it is no run. Choose another --out.")
    return folder


def restored_folder(root: Path, search: Search) -> RunFolder:
    """The run's folder with its settings in it, whatever else is there or was taken away; NasError if it cannot be written."""
    folder = RunFolder(Path(root))
    _check_writable(folder.root)
    if not folder.search_yaml.exists():
        head = {"versions": versions(), "started": datetime.now(UTC).isoformat(timespec="seconds")}
        _write_search(folder, head, search)
    return folder


def update_folder(folder: RunFolder, search: Search) -> None:
    """Write down the settings of a search that may change, as they are now; when it began, and with what, stays."""
    data = parse_yaml(read_text(folder.search_yaml), where=str(folder.search_yaml))
    if plain_search(read_run(folder.root)[1]) != plain_search(search):
        _write_search(folder, data.get(RUN_FACTS, {}), search)


def _copy_of(name: str, file: DeviceFile) -> Path:
    return Path("devices") / f"{name}-{file.key}.json"


def _write_search(folder: RunFolder, head: dict[str, Any], search: Search) -> None:
    for name, file in search.devices.items():
        file.write(folder.root / _copy_of(name, file))
    for plugin in search.space.plugins:
        write_whole(folder.root / PLUGINS_FOLDER / plugin.copy_name, plugin.source)
    write_whole(folder.search_yaml, dump_yaml({RUN_FACTS: head, **plain_search(search)}))


def read_run(root: Path) -> tuple[RunFolder, Search]:
    """An existing run and its search; ConfigError where the folder is none."""
    folder = RunFolder(Path(root))
    if not folder.search_yaml.is_file():
        why = "it must hold a search.yaml, but has none" if folder.root.is_dir() else "there is no such folder"
        raise ConfigError(f"{root}: is no run: {why}{_nearest_runs(folder.root)}")
    text = read_text(folder.search_yaml)
    data = parse_yaml(text, where=str(folder.search_yaml))
    if not isinstance(data, dict):
        raise _half(folder, "it must be a mapping")
    head = data.pop(RUN_FACTS, None)
    lacks = [name for name in WRITTEN_SECTIONS if name not in data]
    if head is not None and (lacks or not text.endswith("\n")):
        raise _half(folder, f"it ends before its {lacks[0] if lacks else 'last line'} does")
    try:
        with no_plugin_runs():  # the run may be somebody else's
            return folder, validated(Search, rooted(data, folder.root), where=str(folder.search_yaml))
    except ConfigError as error:
        raise ConfigError(f"{error}{_written_by(head)}") from None


def runs_in(folder: Path) -> list[Path]:
    """The runs in a folder, itself included."""
    return [path.parent for path in (folder / "search.yaml", *sorted(folder.glob("*/search.yaml"))) if path.is_file()]


def _nearest_runs(root: Path) -> str:
    """The runs whose names come near to one that is none, or where runs are found."""
    runs = dict.fromkeys([*runs_in(root.parent), *runs_in(root), *runs_in(Path("runs"))])
    by_name = {run.resolve().name: run for run in reversed(runs)}
    near = get_close_matches(root.name, by_name, n=3, cutoff=0.5)
    if near:
        return f"; did you mean {' or '.join(str(by_name[name]) for name in near)}?"
    listed = few(list(map(str, runs)), most=5)
    return f". Give a run, such as {listed}." if runs else ". Give the folder that a search wrote, such as runs/hybrid."


def _half(folder: RunFolder, why: str) -> ConfigError:
    return ConfigError(f"{folder.search_yaml}: is damaged: {why}. Restore it, or start the search in a new folder.")


def _written_by(head: Any) -> str:
    """That another version wrote a run, where one did."""
    libraries = head.get("versions") if isinstance(head, dict) else None
    writer = libraries.get("nas") if isinstance(libraries, dict) else None
    if writer in (None, __version__):
        return ""
    return f" The run was written by nas {writer}, this is {__version__}: use that one."


def plain_search(search: Search) -> dict[str, Any]:
    """A search as plain data that can be shown and written down: without the password of its storage.

    A device file, and a plugin, stand as the path of their copy in the run's folder, whose name says what is in it.
    """
    data = search.model_dump(mode="json", exclude_none=True, exclude={"devices"})
    if search.devices:
        data["devices"] = {name: str(_copy_of(name, file)) for name, file in search.devices.items()}
    plugins = [plugin.described(file=str(PLUGINS_FOLDER / plugin.copy_name)) for plugin in search.space.plugins]
    data["space"] = {**({"plugins": plugins} if plugins else {}), **{k: v for k, v in data["space"].items() if k != "plugins"}}
    storage = data["search"].get("storage")
    if storage:
        data["search"]["storage"] = without_password(storage)
    return data


def check_same(before: dict[str, Any], now: dict[str, Any], *, where: str) -> None:
    """ConfigError, with the difference, if the record at `where` belongs to another search."""
    may_change = MAY_CHANGE + _of_the_teacher(before, now)
    changed = {path: pair for path, pair in changed_settings(before, now).items() if not path.startswith(may_change)}
    if not changed:
        return
    if all(path.startswith(PLUGIN_SETTINGS) for path in changed):
        raise ConfigError(
            f"{where}: was searched with other code of {' and '.join(_plugins_of(now))}, of which it keeps a copy. "
            f"Go on with that: {command('search', Path(where) / 'search.yaml', '--out', where)}; or choose another --out "
            "for the new code."
        )
    lines = "\n".join(f"  {path}: {_shown(there)} in the run, now {_shown(here)}" for path, (there, here) in changed.items())
    raise ConfigError(
        f"{where}: holds another search:\n{lines}\n"
        f"Choose another --out for the new one, or give the old settings to continue; "
        f"only {', '.join(may_change)} may change."
    )


def _of_the_teacher(before: dict[str, Any], now: dict[str, Any]) -> tuple[str, ...]:
    """What of a teacher may change: where it lies, or, as long as no search has looked at it, its digest."""
    taught = [search["proxy"].get("distillation") for search in (before, now)]
    if None in taught:
        return ()
    names = ("teacher", "weights") if all("digest" in distillation for distillation in taught) else ("digest",)
    return tuple(f"proxy.distillation.{name}" for name in names)


def _plugins_of(settings: dict[str, Any]) -> list[str]:
    """The files of a search's plugins."""
    names = [Path(plugin["file"]).name for plugin in settings["space"].get("plugins") or []]
    return [re.sub(r"-[0-9a-f]{12}(?=\.py$)", "", name) for name in names]


def _shown(setting: Any) -> Any:
    return "not set" if setting is None else setting


def _check_writable(root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=root, prefix=".probe") as probe:
            probe.write(b"0" * 4096)
    except OSError as error:
        raise NasError(f"{root}: cannot be written: {error.strerror}. Choose another --out, or free space there.") from None


@contextmanager
def alone(folder: RunFolder) -> Iterator[None]:
    """Makes this the only process that adds files to the run; NasError if there is one already. A killed one's lock is free."""
    lock = KernelLock(folder.root / ".lock")
    try:
        lock.acquire(seconds=0)
    except Timeout:
        raise NasError(f"{folder.root}: another process is training there. Wait for it, or choose another --out.") from None
    try:
        yield
    finally:
        lock.release()


# Commands about a run as they are printed: each can be pasted into a shell and does what is said of it


def export_command(root: Path, number: int | str) -> str:
    """Writes a trial whose weights were kept for timm; `number` may be a placeholder that a script fills in."""
    return command("export", root, "--trial", number, "--out", f"exported/{number}")


def retrain_command(root: Path, search: Search, number: int | str) -> str:
    """Trains a trial at length on the search's own images."""
    settings = retrain_settings(search)
    data = ["--data", settings.pop("data")] if "data" in settings else []
    set_ = [word for name, value in settings.items() for word in ("--set", f"{name}={json.dumps(value, ensure_ascii=False)}")]
    out = f"retrained/{number}"
    return command("retrain", root, "--trial", number, "--recipe", QUICK_RECIPE, *data, *set_, "--out", out)


def retrain_settings(search: Search) -> dict[str, Any]:
    """What a retraining on a search's own images changes in a recipe."""
    proxy = search.proxy
    settings: dict[str, Any] = {} if proxy.data == "digits" else {"data": proxy.data}
    settings |= {"image_size": proxy.full_size} if proxy.full_size != 32 else {}
    return settings | {name: getattr(proxy, name) for name in ITS_IMAGES if getattr(proxy, name) != getattr(Recipe(), name)}


def longer_command(root: Path, search: Search) -> str:
    """Searches anew with trainings four times as long."""
    longer = f"proxy.epochs={4 * search.proxy.epochs}"
    return command("search", root / "search.yaml", "--set", longer, "--out", root.with_name(f"{root.name}-longer"))


def calibrate_command(root: Path) -> str:
    """Measures how far the ranking of a run's proxy can be trusted."""
    return command("calibrate", root / "search.yaml", "--out", root)
