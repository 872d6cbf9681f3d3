from typing import Literal

import pytest

from nas.config import Value, merged, parse_yaml, read_yaml, validated, with_settings
from nas.errors import ConfigError
from nas.units import Quantity


class Inner(Value):
    size: int = 1
    kind: Literal["attention", "pool"] = "pool"


class Outer(Value):
    inner: Inner = Inner()
    macs: Quantity = 0


def _message(data):
    with pytest.raises(ConfigError) as caught:
        validated(Outer, data, where="a.yaml")
    return str(caught.value)


def test_a_message_names_the_file_the_dotted_path_the_rule_and_the_value():
    assert _message({"inner": {"size": "big"}}).startswith("a.yaml: inner.size: must be a valid integer")
    assert "'big'" in _message({"inner": {"size": "big"}})


def test_an_unknown_key_is_refused_with_the_nearest_one():
    assert _message({"inner": {"siez": 2}}) == "a.yaml: inner: unknown key 'siez'; did you mean size? Known: size, kind."


def test_an_unknown_choice_is_refused_with_the_nearest_one():
    assert "unknown kind 'atention'; did you mean attention?" in _message({"inner": {"kind": "atention"}})


def test_every_broken_rule_is_listed():
    assert len(_message({"inner": {"size": "big"}, "macs": "many"}).splitlines()) == 2


def test_yaml_that_cannot_be_read_is_located_by_line_and_column():
    with pytest.raises(ConfigError, match=r"a\.yaml: line 2, column 4"):
        parse_yaml("a: 1\nb: : 3", where="a.yaml")


def test_a_key_that_stands_twice_is_refused():
    with pytest.raises(ConfigError, match="line 3, column 1: the key 'a' stands twice"):
        parse_yaml("a: 1\nb: 2\na: 3", where="a.yaml")


@pytest.mark.parametrize("text", ["{[pool, conv]}", "? [a]\n: 1", "{{a: 1}: 2}"])
def test_a_key_that_is_no_word_is_refused(text):
    with pytest.raises(ConfigError, match=r"a\.yaml: line 1, column \d: a key must be one word or number"):
        parse_yaml(text, where="a.yaml")


def test_yaml_without_a_bottom_is_refused():
    with pytest.raises(ConfigError, match=r"a\.yaml: must be nested less deeply"):
        parse_yaml(3000 * "[", where="a.yaml")


def test_an_exponent_without_a_dot_is_a_number():
    assert parse_yaml("lr: 1e-3", where="a.yaml") == {"lr": 0.001}


def test_extends_lays_a_file_over_another(tmp_path):
    (tmp_path / "below.yaml").write_text("a: {x: 1, y: [1, 2]}\nb: 1")
    (tmp_path / "above.yaml").write_text("extends: below.yaml\na: {y: [3]}")
    assert read_yaml(tmp_path / "above.yaml", "search space") == {"a": {"x": 1, "y": [3]}, "b": 1}


def test_extends_in_a_circle_is_refused(tmp_path):
    (tmp_path / "a.yaml").write_text("extends: b.yaml")
    (tmp_path / "b.yaml").write_text("extends: a.yaml")
    with pytest.raises(ConfigError, match=r"circle: a\.yaml -> b\.yaml -> a\.yaml"):
        read_yaml(tmp_path / "a.yaml", "search space")


@pytest.mark.parametrize(
    ("content", "rule"), [(None, "cannot be read"), ("- 1", "must be a mapping"), ("extends: [a]", "must be one name or path")]
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path, content, rule):
    path = tmp_path / "a.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=rule):
        read_yaml(path, "search space")


def test_a_binary_file_is_refused(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_yaml(tmp_path / "a.yaml", "search space")


def test_a_setting_is_laid_over_the_file_and_typed_like_it():
    data = with_settings({"inner": {"size": 3}}, ["inner.kind=attention", "macs=2.0G"])
    assert validated(Outer, data, where="a") == Outer(inner=Inner(size=3, kind="attention"), macs=2_000_000_000)


@pytest.mark.parametrize("setting", ["inner.size", "=3"])
def test_a_setting_without_path_or_value_is_refused(setting):
    with pytest.raises(ConfigError, match="must be a dotted path and a value"):
        with_settings({}, [setting])


def test_a_whole_number_in_a_setting_names_a_stage():
    assert with_settings({"stages": {1: {"depth": 1}}}, ["stages.1.depth=4"]) == {"stages": {1: {"depth": 4}}}


def test_merging_leaves_both_sides_alone():
    below, above = {"a": {"x": 1}}, {"a": {"y": 2}}
    assert merged(below, above) == {"a": {"x": 1, "y": 2}}
    assert (below, above) == ({"a": {"x": 1}}, {"a": {"y": 2}})
