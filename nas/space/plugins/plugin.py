"""A plugin as a value: a file, its hash, the rows of its mixers as plain data, and what they cost in a space."""

import ast
import re
import sys
from collections.abc import Iterable, Mapping
from functools import cached_property, partial
from math import isqrt
from pathlib import Path
from string import ascii_uppercase
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, field_validator, model_validator

from nas.config.text import read_text
from nas.config.values import Flag, Value, broken, validated
from nas.errors import ConfigError, NasError, in_one_line, shortened, unknown
from nas.space.activations import ACTIVATIONS
from nas.space.costs import Cost
from nas.space.mixers import BUILT_IN, MIXERS, VERSIONS, Mixer, Refusal
from nas.space.plugins.code import digest_of, module_of

if TYPE_CHECKING:
    from torch import nn

    from nas.space.architecture import Stage

DIGEST_DIGITS = 12  # of a file's hash, by which an architecture knows the code of its mixers
CARRIED = {"torch", "timm", *sys.stdlib_module_names}
"""What an exported model.py may import, and so a plugin that it carries."""
PLUGINS_FOLDER = Path("plugins")
"""Where copies lie, in the folder of a run or of a retraining."""
MIXER_NAME = "^[a-z][a-z0-9_]{0,39}$"
OptionValue = bool | int | float | str
OptionName = Annotated[str, Field(pattern=MIXER_NAME)]


def _numbers(written: Any) -> Any:
    """Counts that stand in one line, as numbers."""
    return tuple(map(int, written.split())) if isinstance(written, str) and re.fullmatch(r"[\d ]+", written) else written


_Count = Annotated[int, Field(ge=0)]
_Counts = Annotated[tuple[_Count, _Count, _Count, _Count, _Count], BeforeValidator(_numbers)]


class PluginMixer(Value):
    """A plugin's row as plain data: what `Mixer` says of one of ours, without its code."""

    module: str
    """Its class in the plugin's file."""
    letter: str
    options: dict[OptionName, OptionValue] = {}  # noqa: RUF012 (frozen)
    """Defaults by name."""
    choices: dict[OptionName, tuple[OptionValue, ...]] = {}  # noqa: RUF012 (frozen)
    """All values that an option may have, where the author named them."""
    needs_tokens: Flag = False
    position_weights: tuple[str, ...] = ()
    uses_activation: Flag = False
    window: str | None = None
    alone: str | None = None
    idle_alone: tuple[str, ...] = ()

    @field_validator("letter")
    @classmethod
    def _is_a_free_letter(cls, letter: str) -> str:
        if len(letter) != 1 or not letter.isupper():
            raise broken("", f"must be one capital letter, but got {shortened(letter)!r}; choose another")
        for name in BUILT_IN:
            if MIXERS[name].letter == letter:
                free = "".join(sorted({*ascii_uppercase} - {MIXERS[other].letter for other in BUILT_IN}))
                raise broken("", f"must be a letter of its own, but {letter} is that of {name}; choose one of {free}")
        return letter

    @model_validator(mode="after")
    def _names_its_own(self) -> "PluginMixer":
        for field, names in (("window", (self.window,)), ("idle_alone", self.idle_alone)):
            for name in names:
                if name is not None and name not in self.options:
                    raise broken(field, unknown("option", name, self.options))
        if self.alone is not None and self.alone not in BUILT_IN:
            raise broken("alone", unknown("built-in mixer", self.alone, BUILT_IN))
        return self


class Plugin(Value):
    """A file with mixers, known by its hash. Wherever one is made, or arrives pickled, its mixers stand in the table."""

    file: str
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    mixers: Annotated[dict[str, PluginMixer], Field(min_length=1)]
    costs: dict[str, _Counts] = {}  # noqa: RUF012 (grows while a space is checked)
    """By mixer, width, positions and options what `BlockCounts` of measuring.py says of one block."""

    @model_validator(mode="after")
    def _stands_in_the_table(self) -> "Plugin":
        for name in self.mixers:
            if name in BUILT_IN:
                raise broken(f"mixers.{name}", f"must not be called like a built-in mixer ({', '.join(BUILT_IN)}); rename it")
            if not re.fullmatch(MIXER_NAME, name):
                raise broken(
                    "mixers", f"must have names of small letters, digits and _, but got {shortened(name)!r}; rename it"
                )
        _register(self)
        return self

    @property
    def digest(self) -> str:
        """What an architecture knows its code by."""
        return self.sha256[:DIGEST_DIGITS]

    @property
    def copy_name(self) -> str:
        """What its copy in a run's folder is called."""
        return f"{Path(self.file).stem.removesuffix(f'-{self.digest}')}-{self.digest}.py"

    @cached_property
    def source(self) -> str:
        """The text of the file; NasError where it is not the one of the hash any more."""
        text = read_text(Path(self.file))
        if digest_of(text) != self.sha256:
            raise NasError(
                f"{self.file}: must be the plugin that the record names ({self.digest}), but holds other code "
                f"({digest_of(text)[:DIGEST_DIGITS]}). Restore it, or begin a new search with the new code."
            )
        return text

    @property
    def foreign(self) -> list[str]:
        """The packages that it imports and an exported model.py must not need."""
        nodes = [node for node in ast.walk(ast.parse(self.source)) if isinstance(node, ast.Import | ast.ImportFrom)]
        names = {
            n
            for node in nodes
            for n in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names])
        }
        return sorted({name.split(".")[0] for name in names} - CARRIED)

    def described(self, *, file: str | None = None) -> dict[str, Any]:
        """Plain data that makes it again; `file` is where its copy lies."""
        data = self.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
        data["costs"] = {key: " ".join(map(str, self.costs[key])) for key in sorted(self.costs)}
        return {**data, "file": file or self.file}

    def __getstate__(self) -> dict[Any, Any]:
        _ = self.source  # goes along: the file need not be where this arrives
        return super().__getstate__()

    def __setstate__(self, state: dict[Any, Any]) -> None:
        super().__setstate__(state)
        _register(self)


PLUGINS: dict[str, Plugin] = {}
"""All that this process has heard of, by their digest."""
_COUNTED: dict[tuple[str, str], _Counts] = {}


def plugin_line(plugin: Plugin) -> str:
    """What is said of a plugin before a search."""
    foreign = f"; mind: it imports {', '.join(plugin.foreign)}, so its networks can't be exported" if plugin.foreign else ""
    return f"plugin: {', '.join(plugin.mixers)} from {plugin.file} ({plugin.digest}){foreign}"


def plugins_of(stages: "Iterable[Stage]") -> tuple[Plugin, ...]:
    """The plugins whose mixers stand in some stages, each once."""
    return tuple(PLUGINS[digest] for digest in sorted({s.plugin for s in stages if s.plugin is not None}))


def _register(plugin: Plugin) -> None:
    earlier = PLUGINS.get(plugin.digest)
    if earlier is not None and earlier.sha256 == plugin.sha256 and "source" in vars(earlier):
        vars(plugin).setdefault("source", earlier.source)  # one text, wherever a copy lies
    PLUGINS[plugin.digest] = plugin
    for name, row in plugin.mixers.items():
        columns = {column: getattr(row, column) for column in PluginMixer.model_fields if column != "choices"}
        made = Mixer(**columns, cost=partial(_cost, plugin, name), check=partial(_check_options, row), plugin=plugin.digest)
        MIXERS[name] = VERSIONS[name, plugin.digest] = made


def _check_options(row: PluginMixer, stage: "Stage") -> Refusal | None:
    """Why a stage can't have the values of a plugin's options that it has."""
    for name, default in row.options.items():
        value, allowed = stage.option(name), row.choices.get(name)
        kinds = (float, int) if type(default) is float else (type(default),)
        if type(value) not in kinds:
            rule = f"must be a {type(default).__name__}, as its default {default}, but got {shortened(repr(value))}"
            return Refusal(name, f"{rule}; write one")
        if allowed is not None and value not in allowed:
            rule = f"must be one of {', '.join(map(str, allowed))} for {stage.mixer}, but got {shortened(str(value))}"
            return Refusal(name, f"{rule}; choose one")
    return None


def plugin_class(name: str, digest: str) -> "type[nn.Module]":
    """The class of a plugin's mixer; NasError where the plugin is not what its record says."""
    made: type[nn.Module] = _row(PLUGINS[digest], name)["module"]
    return made


def _row(plugin: Plugin, name: str) -> Mapping[str, Any]:
    """A row as its author wrote it, which is what the record says of it."""
    row, where = module_of(plugin.source, plugin.file).MIXERS.get(name), f"{plugin.file}: MIXERS.{name}"
    if as_data(row, where=where) != plugin.mixers[name]:
        raise NasError(f"{where}: is not what the search.yaml that names it says of it. Restore that file.")
    checked: Mapping[str, Any] = row
    return checked


def as_data(row: Any, *, where: str) -> PluginMixer:
    """The row that an author wrote as plain data; its class and its function are looked at."""
    from torch import nn

    def refuse(column: str, rule: str) -> None:
        value = row.get(column[1:]) if column else row
        raise ConfigError(f"{where}{column}: {rule}, but got {getattr(value, '__name__', shortened(repr(value)))}. Mend it.")

    if not isinstance(row, Mapping):
        refuse("", "must be a mapping with at least module and letter")
    made, options = row.get("module"), row.get("options", {})
    if not isinstance(made, type) or not issubclass(made, nn.Module):
        refuse(".module", "must be a class made of torch.nn.Module")
    if made.forward is nn.Module.forward:
        refuse(".module", "must have a method forward(self, x)")
    if not callable(row.get("cost", len)):
        refuse(".cost", "must be a function of stage and n")
    if not isinstance(options, Mapping) or [] in [list(v) for v in options.values() if isinstance(v, list | tuple)]:
        refuse(".options", "must map names to a default, or to a list of choices")
    choices = {name: tuple(values) for name, values in options.items() if isinstance(values, list | tuple)}
    defaults = {name: choices[name][0] if name in choices else value for name, value in options.items()}
    plain = {column: value for column, value in row.items() if column != "cost"}
    return validated(PluginMixer, {**plain, "module": made.__name__, "options": defaults, "choices": choices}, where=where)


# Costs


def _cost(plugin: Plugin, name: str, stage: "Stage", n: int) -> Cost:
    """Of one block on n positions."""
    params, frozen, macs, floats, activations = counts_of(plugin, name, stage, n)
    return Cost(params + activations * ACTIVATIONS[stage.activation].params, frozen, macs, floats)


def counts_of(plugin: Plugin, name: str, stage: "Stage", n: int, *, note: bool = False) -> _Counts:
    """The `BlockCounts` of a stage's block: as the plugin's record has them, else counted now; noted there if asked for."""
    key = _key(name, plugin, stage, n)
    counts = plugin.costs.get(key) or _COUNTED.get((plugin.digest, key))
    if counts is None:
        counts = _COUNTED[plugin.digest, key] = _counted(plugin, name, stage, n)
    if note:
        plugin.costs[key] = counts
    return counts


def _key(name: str, plugin: Plugin, stage: "Stage", n: int) -> str:
    return " ".join([name, f"{stage.width}x{n}", *(f"{o}={stage.option(o)}" for o in plugin.mixers[name].options)])


def _counted(plugin: Plugin, name: str, stage: "Stage", n: int) -> _Counts:
    """What one block costs; ConfigError where it can't be built or run, or is not what its row says."""
    row, made, declared = _row(plugin, name), plugin_class(name, plugin.digest), plugin.mixers[name]
    from nas.space.plugins.measuring import Broken, check_row, measured, weights_of_positions  # loads torch, as the plugin did

    try:
        counts = measured(made, stage, side=isqrt(n), tokens=declared.needs_tokens)
        positional = weights_of_positions(made, stage, side=isqrt(n))
        counts = check_row(counts, declared, positional, closed=partial(row["cost"], stage, n) if "cost" in row else None)
    except (Exception, SystemExit) as error:  # whatever the author's code raises is said of it
        why = in_one_line(error)
        said = why if isinstance(error, Broken) else f"can't be built and run: {type(error).__name__}: {why}; mend it"
        raise ConfigError(f"{plugin.file}: {_key(name, plugin, stage, n)}: {said.rstrip('.')}.") from None
    return counts.params, counts.frozen_params, counts.macs, counts.floats, counts.activations
