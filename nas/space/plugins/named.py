"""A plugin that a search names, by its file or by the entry point of an installed package: run and looked at."""

from collections.abc import Mapping
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nas.config.text import read_text
from nas.config.values import validated
from nas.errors import ConfigError, few, shortened
from nas.files import at_home
from nas.space.plugins.code import digest_of, module_of
from nas.space.plugins.plugin import Plugin, as_data

ENTRY_POINTS = "metaformer_nas.mixers"


def plugin_of(written: Any) -> Plugin:
    """The plugin that a person names, which is run, or that a run's record describes; ConfigError says why it can't be one."""
    if isinstance(written, Plugin):
        return written
    if isinstance(written, Mapping):
        return validated(Plugin, written, where="plugins")
    if not isinstance(written, str) or not written.strip():
        raise ConfigError(f"must be Python files, but got {shortened(repr(written))}. Write [my_mixers.py].")
    return _named(written)


def _named(written: str) -> Plugin:
    path = _file_of(written)
    source = read_text(path)
    table = getattr(module_of(source, str(path)), "MIXERS", None)
    if not isinstance(table, dict) or not table:
        raise ConfigError(
            f"{path}: MIXERS: must be a mapping of names to mixers, but got {shortened(repr(table))}. Define it there."
        )
    mixers = {str(name): as_data(row, where=f"{path}: MIXERS.{name}") for name, row in table.items()}
    data = {"file": str(path.absolute()), "sha256": digest_of(source), "mixers": mixers}
    plugin = validated(Plugin, data, where=str(path))
    vars(plugin)["source"] = source  # what was run, whatever becomes of the file
    return plugin


def _file_of(written: str) -> Path:
    path = Path(at_home(written))
    if path.suffix == ".py" or path.exists():
        return path
    points = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if written not in points:
        installed = few(sorted(points), most=9) or "none"
        raise ConfigError(
            f"{shortened(written)}: must be a Python file, my_mixers.py, or an installed entry point of {ENTRY_POINTS} "
            f"({installed}). Write one of these."
        )
    spec = find_spec(points[written].module)
    if spec is None or not (spec.origin or "").endswith(".py"):
        raise ConfigError(
            f"{written}: must be the entry point of a Python module, but is {points[written].value}. Reinstall it."
        )
    return Path(str(spec.origin))
