"""YAML to frozen pydantic models and back: unknown keys are errors, every message names the file and the dotted path."""

import json
import os
import re
import reprlib
from collections.abc import Callable, Collection, Sequence
from functools import reduce
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import quote, unquote

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from nas.errors import MAX_SHOWN, ConfigError, in_one_line, shortened, unknown
from nas.files import at_home, in_utf8
from nas.passwords import without_password
from nas.shipped import Kind, yaml_path
from nas.units import LARGEST


class Value(BaseModel):
    """A frozen value that goes to YAML or JSON and back; a key that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields and key not in cls.further_keys():
                    below = [f"{name}.{key}" for name, field in cls.model_fields.items() if key in _fields_of(field.annotation)]
                    rule = unknown("key", key, below or [*cls.model_fields, *cls.further_keys()])
                    raise PydanticCustomError("unknown_key", "{rule}", {"rule": rule, "key": str(key)})
        return data

    @classmethod
    def further_keys(cls) -> Collection[str]:
        """Keys that it may have besides its fields."""
        return ()


class OpenValue(Value):
    """One that may have further keys, whose names are known only when it is made."""

    model_config = ConfigDict(extra="allow")


def _fields_of(kind: Any) -> Collection[str]:
    """The keys of a section; none for anything else."""
    return kind.model_fields if isinstance(kind, type) and issubclass(kind, Value) else ()


V = TypeVar("V", bound=BaseModel)
Flag = Annotated[bool, Field(strict=True)]
"""A word that must be true or false: neither `yes` nor 1 passes for it."""
Place = Callable[[Sequence[str]], str]
"""Names the file, or the option, in which what stands at a dotted path was written."""
Layer = tuple[Path, dict[str, Any]]
"""A YAML file and its mapping, without those that it extends."""

PATH_SETTINGS = ("data", "classes", "weights", "teacher", "against")  # settings that may hold a path
PATH_LISTS = ("learn_from", "plugins")  # settings that hold paths, or mappings with the path of a file
DEVICES = "devices"  # the section whose every value may be a path
NAMES_NO_PATH = ("digits", "published")
PREFIXES_NO_PATH = ("torch/", "hfds/", "wds/", "timm/")
SQLITE = "sqlite:///"
MOST_DIGITS = 100  # of a number, whatever its base
MOST_VALUES = 1_000_000  # in a YAML file
NO_KEYS = tuple(f"tag:yaml.org,2002:{kind}" for kind in ("bool", "float", "null"))  # true and 1.0 would pass for 1


class _Loader(yaml.SafeLoader):
    """A safe loader of YAML 1.2's numbers and words; it refuses a key that stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be one word or number", key.start_mark)
            if key.tag in NO_KEYS:
                problem = f"the key {key.value} must be a word or a whole number; put it in quotes if it is a name"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} stands twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_document(self, node: yaml.Node) -> Any:
        return self.construct_object(node, deep=True)  # at once, which refuses a mapping that holds itself

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (LookupError, AttributeError, ValueError):  # of PyYAML's own, as for `!!bool perhaps`
            kind = node.tag.rpartition(":")[2]
            rule = f"must be of the kind {kind}, but got {shortened(str(node.value))!r}"
            raise yaml.constructor.ConstructorError(None, None, rule, node.start_mark) from None


class _Dumper(yaml.SafeDumper):
    """YAML's safe dumper; it puts quotes around what this loader, or one of YAML 1.1, would not read as the text it is."""


# YAML 1.2's core schema, but that 010 stays text: PyYAML's own, of YAML 1.1, reads 12:00 as 720, 010 as 8 and no as false
_SCALARS = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "int": (r"[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+|0o[0-7]+", "-+0123456789"),
    "float": (
        r"[-+]?((0|[1-9][0-9]*)\.[0-9]*|\.[0-9]+|(0|[1-9][0-9]*)(?=[eE]))([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+0123456789.",
    ),
    "merge": (r"<<", "<"),
}
_Loader.yaml_implicit_resolvers = {}
for _kind, (_pattern, _first) in _SCALARS.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(rf"^(?:{_pattern})$"), list(_first))


def _integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    written = str(loader.construct_scalar(node))
    if len(written) <= MOST_DIGITS and abs(number := int(written, 0)) <= LARGEST:
        return number
    problem = f"{reprlib.repr(written)} is larger than any count here ({LARGEST:,}); put it in quotes if it is a name"
    raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """A string; in quotes that keep them where it has line ends that YAML would read back as others."""
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style='"' if re.search("[\r\x85\u2028\u2029]", text) else None
    )


_Loader.add_constructor("tag:yaml.org,2002:int", _integer)
_Dumper.add_representer(str, _text)


def parse_yaml(text: str, *, where: str) -> Any:
    """The plain data in a YAML text; ConfigError with line and column if it has none."""
    try:
        data = yaml.load(text, _Loader)
        if _num_values(data, {}) > MOST_VALUES:
            raise ConfigError(f"{where}: must hold at most {MOST_VALUES:,} values, its aliases written out. Write it shorter.")
        return data
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ConfigError(f"{where}: {place}{error.problem or error.context}. Mend the YAML there.") from None
    except RecursionError:
        raise ConfigError(f"{where}: must be nested less deeply. Mend the YAML.") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{where}: must be YAML, but: {in_one_line(error).rstrip('.')}. Mend the text.") from None


def _num_values(data: Any, counted: dict[int, int]) -> int:
    """How many values there are if each is counted wherever it stands; what stands in several places is looked at once."""
    if not isinstance(data, dict | list):
        return 1
    if id(data) not in counted:
        below = data.values() if isinstance(data, dict) else data
        counted[id(data)] = 1 + sum(_num_values(value, counted) for value in below)
    return counted[id(data)]


def read_text(path: Path) -> str:
    """The text of a user's file; ConfigError where it is missing or cannot be read."""
    try:
        if Path(path).exists() and not Path(path).is_file() and not Path(path).is_dir():  # a pipe or device may never end
            raise ConfigError(f"{path}: must be a file, but is a pipe or a device. Write its content into a file.")
        return Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"{path}: cannot be read: {why}. Check the path and its permissions.") from None


def read_json(path: Path) -> dict:
    """The mapping in a JSON file that another verb wrote; ConfigError where it is missing or damaged."""
    try:
        data = json.loads(read_text(path))
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: is damaged: it must hold a JSON object. Restore it, or have it written again.")
    return data


def read_layers(path: Path, kind: Kind, *, _below: tuple[Path, ...] = ()) -> list[Layer]:
    """A YAML file with its mapping, then those that it `extends:`, each a path beside the file or a shipped one's name."""
    data = rooted(mapping_in(path), path.parent)
    if "extends" not in data:
        return [(path, data)]
    parent = data.pop("extends")
    if not isinstance(parent, str) or not parent.strip():
        raise ConfigError(f"{path}: extends: must be one name or path of a YAML file, but got {_in_short.repr(parent)}.")
    chain = (*_below, Path(os.path.realpath(path)))  # which takes a link to itself as it is; reading it says what it is
    target = yaml_path(parent, kind, folder=path.parent, where=f"{path}: extends")
    if Path(os.path.realpath(target)) in chain:
        names = " -> ".join(p.name for p in (*chain, target))
        raise ConfigError(f"{path}: extends: goes round in a circle: {names}. Remove one of these lines.")
    return [(path, data), *read_layers(target, kind, _below=chain)]


def mapping_in(path: Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file; ConfigError where it holds anything else."""
    data = parse_yaml(read_text(path), where=str(path))
    if isinstance(data, dict):
        return data
    has = "the file is empty" if data is None else f"got {_in_short.repr(data)}"
    raise ConfigError(f"{path}: must be a mapping of keys to values, but {has}. Write it as `key: value`.")


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


def validated(model: type[V], data: Any, *, where: str | Place) -> V:
    """`data` as a checked `model`; ConfigError lists every broken rule with `where` and its dotted path."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        lines = dict.fromkeys(_line(problem, where) for problem in error.errors())
    except RecursionError:
        lines = {f"{where if isinstance(where, str) else where(())}: must be nested less deeply. Mend it.": None}
    raise ConfigError("\n".join(lines)) from None


def broken(path: str, rule: str) -> PydanticCustomError:
    """What a validator raises for a rule broken at a dotted path below it; `rule` names value and way out itself."""
    return PydanticCustomError("broken", "{rule}", {"path": path, "rule": rule})


def known_name(kind: str, table: Collection[str]) -> BeforeValidator:
    """The check of a field that holds a name of `table`; the message names the nearest ones."""

    def check(name: object) -> object:
        if not isinstance(name, str) or name not in table:  # a number, or a bare `no`, is a wrong name as well
            raise broken("", unknown(kind, name, table))
        return name

    return BeforeValidator(check)


def _line(problem: ErrorDetails, where: str | Place) -> str:
    """A broken rule as people read it: where it was written, its dotted path, the rule, the value."""
    context = problem.get("ctx", {})
    path = [*_parts(problem["loc"]), *(context[name] for name in ("path",) if context.get(name))]
    written = ".".join([*path, *(context[name] for name in ("key",) if name in context)]).split(".")
    place = where if isinstance(where, str) else where(written)
    text = in_words(problem)
    stop = "" if text.endswith(("?", ".")) else "."
    return f"{place}: {'.'.join(path)}: {text}{stop}" if path else f"{place}: {text}{stop}"


def in_words(problem: ErrorDetails) -> str:
    """A rule that pydantic found broken and the value, as people read them."""
    value, kind = problem["input"], problem["type"]
    rule = problem["msg"].removeprefix("Value error, ").rstrip(".")
    if kind in ("broken", "unknown_key") or (kind == "value_error" and isinstance(value, dict)):
        return rule
    if kind == "literal_error" and (names := re.findall(r"'([^']*)'", problem["ctx"]["expected"])):
        return unknown(next(str(p) for p in reversed(problem["loc"]) if isinstance(p, str)), value, names)
    if kind == "missing":
        return "this key is required; add it"
    return f"{_rule(problem, rule)}, but got {without_password(_in_short.repr(value))}"


_in_short = reprlib.Repr()  # of a value; aliases in YAML make one of many gigabytes with few words
_in_short.maxlevel = 3
_in_short.maxstring = _in_short.maxother = MAX_SHOWN
_in_short.maxlist = _in_short.maxtuple = _in_short.maxdict = 12


_RULES = {
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "string_pattern_mismatch": "must begin with a letter or digit, and have only these and . _ - behind it",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be a mapping of keys to values",
    "dataclass_type": "must be a mapping of keys to values",
    "model_type": "must be a mapping of keys to values",
    "none_required": "must be null",
    "literal_error": "must be null",
}
"""What people read in the place of pydantic's own sentence, by its kind of error."""


def _rule(problem: ErrorDetails, rule: str) -> str:
    """A rule in our words."""
    context = problem.get("ctx", {})
    if problem["type"] in ("too_short", "too_long"):
        least = problem["type"] == "too_short"
        number = context["min_length"] if least else context["max_length"]
        return f"must hold at {'least' if least else 'most'} {number} {'entry' if number == 1 else 'entries'}"
    return _RULES.get(problem["type"]) or re.sub(r"^(Input|String|Value) should", "must", rule)


def _parts(location: tuple) -> list[str]:
    """The user's keys in pydantic's location: without the branches of unions and the place in a list of choices."""
    keys = [str(p) for p in location if isinstance(p, int) or not re.search(r"[\[\]()]|^(int|float|str|bool)$", p)]
    return keys[:-1] if len(keys) > 1 and isinstance(location[-1], int) and keys[-2] != "stages" else keys


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


def dump_yaml(data: Any) -> str:
    """Plain data as YAML, keys in the order given."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
