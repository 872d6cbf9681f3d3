"""Plain data as frozen pydantic models: unknown keys are errors, every message names the place and the dotted path."""

import re
from collections.abc import Callable, Collection, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from nas.config.text import in_few_words
from nas.errors import ConfigError, unknown
from nas.passwords import without_password


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
    return f"{_rule(problem, rule)}, but got {without_password(in_few_words(value))}"


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
    if digits := re.fullmatch(r"\^\[0-9a-f\]\{(\d+)\}\$", context.get("pattern", "")):
        return f"must be {digits[1]} digits of 0 to 9 and a to f"
    return _RULES.get(problem["type"]) or re.sub(r"^(Input|String|Value) should", "must", rule)


def _parts(location: tuple) -> list[str]:
    """The user's keys in pydantic's location: without the branches of unions and the place in a list of choices."""
    keys = [str(p) for p in location if isinstance(p, int) or not re.search(r"[\[\]()]|^(int|float|str|bool)$", p)]
    return keys[:-1] if len(keys) > 1 and isinstance(location[-1], int) and keys[-2] != "stages" else keys
