"""Mappings laid over one another: what a YAML file extends, what --set changes, and where each setting was written."""

import os
import re
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from nas.config.text import in_few_words, mapping_in, parse_yaml
from nas.config.values import Place
from nas.errors import ConfigError, shortened
from nas.files import at_home, in_utf8
from nas.shipped import Kind, yaml_path

Layer = tuple[Path, dict[str, Any]]
"""A YAML file and its mapping, without those that it extends."""
PATH_SETTINGS = ("data", "classes", "weights", "teacher", "against")  # settings that may hold a path
PATH_LISTS = ("learn_from", "plugins")  # settings that hold paths, or mappings with the path of a file
DEVICES = "devices"  # the section whose every value may be a path
NAMES_NO_PATH = ("digits", "published")
PREFIXES_NO_PATH = ("torch/", "hfds/", "wds/", "timm/")
SQLITE = "sqlite:///"


def read_layers(path: Path, kind: Kind, *, _below: tuple[Path, ...] = ()) -> list[Layer]:
    """A YAML file with its mapping, then those that it `extends:`, each a path beside the file or a shipped one's name."""
    data = rooted(mapping_in(path), path.parent)
    if "extends" not in data:
        return [(path, data)]
    parent = data.pop("extends")
    if not isinstance(parent, str) or not parent.strip():
        raise ConfigError(f"{path}: extends: must be one name or path of a YAML file, but got {in_few_words(parent)}.")
    chain = (*_below, Path(os.path.realpath(path)))  # which takes a link to itself as it is; reading it says what it is
    target = yaml_path(parent, kind, folder=path.parent, where=f"{path}: extends")
    if Path(os.path.realpath(target)) in chain:
        names = " -> ".join(p.name for p in (*chain, target))
        raise ConfigError(f"{path}: extends: goes round in a circle: {names}. Remove one of these lines.")
    return [(path, data), *read_layers(target, kind, _below=chain)]


def merged_layers(layers: Sequence[Layer]) -> dict[str, Any]:
    """The mappings of files, each laid over those behind it."""
    return reduce(merged, [data for _, data in reversed(layers)], {})


def place_in(layers: Sequence[Layer], settings: Sequence[str] = ()) -> Place:
    """What names, of files laid over each other and `--set a.b=value` over them, the one where a dotted path was written."""
    first = f"{layers[0][0]}{' (with --set)' if settings else ''}"
    written = [(with_settings({}, [setting]), first) for setting in reversed(settings)]
    written += [(data, first if i == 0 else str(path)) for i, (path, data) in enumerate(layers)]

    def place(path: Sequence[str]) -> str:
        depths = [_depth(data, path) for data, _ in written]
        return written[depths.index(max(depths))][1]

    return place


def _depth(data: Any, path: Sequence[str]) -> int:
    """How many steps of a dotted path lead to something."""
    if not path or not isinstance(data, dict):
        return 0
    key = next((key for key in data if str(key) == path[0]), None)
    return 0 if key is None else 1 + _depth(data[key], path[1:])


def rooted(data: Any, folder: Path) -> Any:
    """The settings with paths in full: one that is not is looked for in the folder of the file that names it, then here."""
    if not isinstance(data, dict):
        return data
    devices = data.get(DEVICES)
    below: dict[str, Any] = (
        {DEVICES: {n: _full_path(v, folder) for n, v in devices.items()}} if isinstance(devices, dict) else {}
    )
    for name in PATH_LISTS:
        if isinstance(paths := data.get(name), list | str):
            below[name] = [_full_path_in(entry, folder) for entry in ([paths] if isinstance(paths, str) else paths)]
    return {
        key: _in_full(key, value, folder) if isinstance(value, str) else rooted(value, folder) for key, value in data.items()
    } | below


def _in_full(key: Any, value: str, folder: Path) -> str:
    if key == "storage" and value.startswith(SQLITE) and not value.startswith((f"{SQLITE}/", f"{SQLITE}:memory:")):
        path, mark, query = value.removeprefix(SQLITE).partition("?")
        return f"{SQLITE}{quote(os.path.abspath(folder / at_home(unquote(path))))}{mark}{query}"
    if key not in PATH_SETTINGS or value in NAMES_NO_PATH or value.startswith(PREFIXES_NO_PATH):
        return value
    return _full_path(value, folder)


def _full_path_in(entry: Any, folder: Path) -> Any:
    """A path that stands alone, or under the key file."""
    if isinstance(entry, dict) and "file" in entry:
        return {**entry, "file": _full_path(entry["file"], folder)}
    return _full_path(entry, folder)


def _full_path(value: Any, folder: Path) -> Any:
    """A path that was written, where it exists; what is no text as it is."""
    if not isinstance(value, str):
        return value
    path = at_home(in_utf8(value))
    existing = (os.path.abspath(place) for place in (folder / path, path) if value and os.path.exists(place))
    return next(existing, path)


def merged(below: dict, above: dict) -> dict:
    """Two mappings laid over each other, key by key; what stands above wins, lists and values whole."""
    both = {k: merged(below[k], v) if isinstance(v, dict) and isinstance(below.get(k), dict) else v for k, v in above.items()}
    return {**below, **both}


def with_settings(data: dict[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """`data` with each "a.b=value" of `settings` laid over it; values are read as YAML."""
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not path.strip():
            raise ConfigError(f"--set {shortened(setting)}: must be a dotted path and a value, such as --set proxy.epochs=4.")
        if not text.strip():
            raise ConfigError(
                f"--set {shortened(setting)}: must have a value behind the equals sign. Write null to leave the setting out."
            )
        value = parse_yaml(text, where=f"--set {shortened(setting)}")
        for key in reversed(path.strip().split(".")):
            value = {int(key) if re.fullmatch("[0-9]{1,9}", key) else key: value}
        data = merged(data, rooted(value, Path()))
    return data


def changed_settings(before: dict[str, Any], now: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The settings that differ by their dotted paths, in order, each as it was and as it is; None where one is not set."""
    old, new = _leaves(before), _leaves(now)
    return {path: (old.get(path), new.get(path)) for path in sorted(old | new) if old.get(path) != new.get(path)}


def _leaves(data: Any, path: str = "") -> dict[str, Any]:
    """Values by dotted path; a list is one value, unless it holds mappings, as the stages of an architecture are."""
    if isinstance(data, (list, tuple)) and any(isinstance(value, dict) for value in data):
        data = dict(enumerate(data))
    if not isinstance(data, dict):
        return {path: data}
    below = [_leaves(value, f"{path}.{key}" if path else str(key)) for key, value in data.items()]
    return {name: leaf for part in below for name, leaf in part.items()}
