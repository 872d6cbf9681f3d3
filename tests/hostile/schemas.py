"""Wrong values for every field of every schema, so that a field that is new tomorrow is tried as well."""

import types
import typing
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from nas.config.values import Value
from nas.recipes.full import FullRecipe
from nas.run.settings.search import Search
from nas.space.choices import StageChoices

MAPPED = {"stages": "stages.1", "fidelities": "fidelities.long"}  # where a mapping's own keys stand before the fields


def paths(model: type[Value], prefix: str = "") -> Iterator[str]:
    """The dotted path of every field of a schema, those of its sections below it."""
    for name, field in model.model_fields.items():
        yield prefix + name
        for section in _sections(field.annotation):
            yield from paths(section, f"{prefix}{MAPPED.get(name, name)}.")


def _sections(kind: Any) -> Iterator[type[Value]]:
    if isinstance(kind, type) and not isinstance(kind, types.GenericAlias):
        if issubclass(kind, Value):
            yield kind
        return
    for part in typing.get_args(kind):
        yield from _sections(part)


SEARCH_PATHS = sorted({*paths(Search), *paths(StageChoices, "space.stages.2.")} - {"proxy.retry_lr"})
RECIPE_PATHS = sorted(paths(FullRecipe))

WRONG = (
    "yes", "true", "null", "''", "-1", "0", "1_0", ".inf", "-.inf", ".nan", "1e400", "1e-400", "1.5", "999999999999999999",
    "9" * 400, "'²'", "2.0GG", "0x10", "010",
    "[]", "{}", "[[1]]", "[1, 1]", "{a: 1}", "{1: 2}", "[{}]", "{low: 1}", "{low: 1, high: 1e9}", "{low: 3, high: 1}",
    "{low: 1, high: 1000000000}",
    "!!set {a}", "!!binary aGk=", "!!timestamp 2001-01-01", "!!int ''", "!!float x", "!!omap [a: 1]",
    "!!python/object/apply:os.system [id]", "!foo bar",
    "&a [*a]", "<<", "{<<: 3}", "'\\0'", '"\\u202e"', "é" * 300, "x" * 5000, "../../etc/passwd", "'a\n\nb'", "[yes, no]",
    "12:30", "2001-01-01", "{true: 1}", "{null: 1}",
    "$HOME", "=cmd|' /C calc'!A0", "'[bold]x[/]'", "'<script>'", "[1, 2, 3]", "[8, 4]", "-0.0", "1e-300", "1e308", "!!str 3",
    "? [a]\n: 1",
)  # fmt: skip
"""Texts of YAML that are wrong for most fields."""

values = st.one_of(
    st.sampled_from(WRONG),
    st.integers(-(10**40), 10**40).map(str),
    st.floats().map(str),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20).map(repr),
    st.lists(st.sampled_from(WRONG[:12]), max_size=3).map(lambda items: f"[{', '.join(items)}]"),
    st.dictionaries(st.sampled_from("abc"), st.sampled_from(WRONG[:12]), max_size=2).map(
        lambda items: "{" + ", ".join(f"{key}: {value}" for key, value in items.items()) + "}"
    ),
)
