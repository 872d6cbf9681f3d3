"""YAML and JSON texts as plain data, and back; every message names the file, or the line and column."""

import json
import re
import reprlib
from pathlib import Path
from typing import Any

import yaml

from nas.errors import MAX_SHOWN, ConfigError, in_one_line, shortened
from nas.units import LARGEST

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


def mapping_in(path: Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file; ConfigError where it holds anything else."""
    data = parse_yaml(read_text(path), where=str(path))
    if isinstance(data, dict):
        return data
    has = "the file is empty" if data is None else f"got {in_few_words(data)}"
    raise ConfigError(f"{path}: must be a mapping of keys to values, but {has}. Write it as `key: value`.")


_SHORTENING = reprlib.Repr()  # of a value; aliases in YAML make one of many gigabytes with few words
_SHORTENING.maxlevel = 3
_SHORTENING.maxstring = _SHORTENING.maxother = MAX_SHOWN
_SHORTENING.maxlist = _SHORTENING.maxtuple = _SHORTENING.maxdict = 12


def in_few_words(value: Any) -> str:
    """Plain data in few words."""
    return _SHORTENING.repr(value)


def dump_yaml(data: Any) -> str:
    """Plain data as YAML, keys in the order given."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
