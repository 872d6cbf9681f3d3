import os
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import make_url

from nas.config.layers import merged, merged_layers, read_layers, with_settings
from nas.config.text import dump_yaml, parse_yaml, read_json, read_text
from nas.config.values import Value, validated
from nas.errors import ConfigError, NasError
from nas.files import at_home
from nas.run.settings.search import read_search
from nas.units import LARGEST, Quantity


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
    assert _message({"inner": {"size": "big"}}).startswith("a.yaml: inner.size: must be a whole number")
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
    assert merged_layers(read_layers(tmp_path / "above.yaml", "search space")) == {"a": {"x": 1, "y": [3]}, "b": 1}


def test_extends_in_a_circle_is_refused(tmp_path):
    (tmp_path / "a.yaml").write_text("extends: b.yaml")
    (tmp_path / "b.yaml").write_text("extends: a.yaml")
    with pytest.raises(ConfigError, match=r"circle: a\.yaml -> b\.yaml -> a\.yaml"):
        merged_layers(read_layers(tmp_path / "a.yaml", "search space"))


@pytest.mark.parametrize(
    ("content", "rule"), [(None, "cannot be read"), ("- 1", "must be a mapping"), ("extends: [a]", "must be one name or path")]
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path, content, rule):
    path = tmp_path / "a.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=rule):
        merged_layers(read_layers(path, "search space"))


def test_a_binary_file_is_refused(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        merged_layers(read_layers(tmp_path / "a.yaml", "search space"))


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


# Numbers and words as they are written (YAML 1.2)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12:00", "12:00"), ("1:30:00", "1:30:00"), ("1:30.5", "1:30.5"), ("0123", "0123"), ("010", "010"), ("-010", "-010"),
        ("00", "00"), ("0b11", "0b11"), ("1_000", "1_000"), ("no", "no"), ("yes", "yes"), ("on", "on"), ("Off", "Off"),
        ("2020-01-01", "2020-01-01"), ("0x1F", 31), ("0o17", 15), ("-2", -2), ("+3", 3), ("0", 0), ("1e-3", 0.001),
        ("5E3", 5000.0), (".5", 0.5), ("1.", 1.0), ("true", True), ("FALSE", False), ("~", None), ("null", None), ("", None),
        ("'no'", "no"),
        ("[010, no, 3, 7.50]", ["010", "no", 3, 7.5]), ("{on: 1, 010: 2}", {"on": 1, "010": 2}),
    ],
)  # fmt: skip
def test_a_scalar_is_read_as_it_is_written(text, value):
    parsed = parse_yaml(text, where="here")
    assert parsed == value and type(parsed) is type(value)


@given(
    st.text()
    | st.integers(-LARGEST, LARGEST)
    | st.floats(allow_nan=False)
    | st.booleans()
    | st.none()
    | st.from_regex(r"[-+0-9:._exob]{1,8}")
)
def test_what_is_written_down_is_read_back_as_it_was(value):
    assert parse_yaml(dump_yaml({"key": [value]}), where="here") == {"key": [value]}


@pytest.mark.parametrize("setting", ["search.max_hours=12:00", "search.max_hours=1:30:00", "space.stages.1.width=[010,016]"])
def test_numbers_of_yaml_11_are_refused_as_they_are_written(tiny, setting):
    with pytest.raises(ConfigError) as caught:
        tiny(setting)
    assert setting.partition("=")[2].strip("[").split(",")[0] in str(caught.value)


def test_names_of_classes_are_text_however_they_look(tiny):
    assert tiny("proxy.classes=[3,7]", "proxy.images_per_class=20").proxy.classes == ("3", "7")
    assert tiny("proxy.classes=[no,yes]").proxy.classes == ("no", "yes")
    assert tiny("proxy.classes=[007,2020-01-01]").proxy.classes == ("007", "2020-01-01")
    assert tiny("proxy.classes=7").proxy.classes == 7
    with pytest.raises(ConfigError, match=r"must stand in quotes, but got 1\.5"):
        tiny("proxy.classes=[1.50,2]")


def test_a_setting_without_a_value_is_refused(tiny):
    for setting in ("space.all_stages.norm=", "search.trials= "):
        with pytest.raises(ConfigError, match="must have a value behind the equals sign"):
            tiny(setting)


# Paths


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_paths_in_a_file_are_looked_for_beside_it_then_here(tmp_path, monkeypatch):
    for name in ("there/pets.tar", "there/classes.txt", "here/other.tar"):
        write(tmp_path / name, "ant\nbee\n")
    file = write(
        tmp_path / "there" / "mine.yaml", "data: pets.tar\nclasses: classes.txt\nweights: other.tar\nnested: {teacher: x}\n"
    )
    monkeypatch.chdir(tmp_path / "here")
    settings = merged_layers(read_layers(file, "recipe"))
    assert settings["data"] == str(tmp_path / "there" / "pets.tar")
    assert settings["classes"] == str(tmp_path / "there" / "classes.txt")
    assert settings["weights"] == str(tmp_path / "here" / "other.tar")
    assert settings["nested"] == {"teacher": "x"}
    assert with_settings({}, ["proxy.data=other.tar"]) == {"proxy": {"data": str(tmp_path / "here" / "other.tar")}}


def test_a_path_in_a_file_that_is_extended_is_its_own(tmp_path):
    write(tmp_path / "base" / "pets.tar", "x")
    write(tmp_path / "base" / "base.yaml", "data: pets.tar\n")
    file = write(tmp_path / "mine" / "mine.yaml", "extends: ../base/base.yaml\nepochs: 3\n")
    assert merged_layers(read_layers(file, "recipe")) == {"data": str(tmp_path / "base" / "pets.tar"), "epochs": 3}


@pytest.mark.parametrize("name", ["digits", "torch/cifar10", "timm/resnet18", "published"])
def test_a_name_that_holds_everywhere_is_no_path(tmp_path, monkeypatch, name):
    (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert with_settings({}, [f"data={name}"]) == {"data": name}


def test_the_home_folder_is_meant_by_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert with_settings({}, ["proxy.data=~/pets"]) == {"proxy": {"data": f"{tmp_path}/pets"}}
    assert with_settings({}, ["search.storage=sqlite:///~/a.db"]) == {"search": {"storage": f"sqlite:///{tmp_path}/a.db"}}
    assert at_home("~") == str(tmp_path) and at_home("a~b") == "a~b"
    with pytest.raises(NasError, match="no home folder for ~nobody-of-that-name"):
        at_home("~nobody-of-that-name/x")


@pytest.mark.parametrize("name", ["is it ok?", "a%2Fb", "c#d", "é"])
def test_a_database_beside_a_file_in_a_folder_of_any_name_is_meant_as_one_file(tmp_path, name):
    file = write(tmp_path / name / "mine.yaml", "search: {storage: 'sqlite:///a.db?timeout=3'}\n")
    url = make_url(merged_layers(read_layers(file, "search space"))["search"]["storage"])
    assert (url.database, dict(url.query)) == (str(tmp_path / name / "a.db"), {"timeout": "3"})


def test_a_database_beside_the_file_stays_there(tmp_path, monkeypatch):
    file = write(tmp_path / "there" / "mine.yaml", "search: {storage: 'sqlite:///a.db'}\n")
    monkeypatch.chdir(tmp_path)
    assert merged_layers(read_layers(file, "search space")) == {"search": {"storage": f"sqlite:///{tmp_path}/there/a.db"}}


@pytest.mark.parametrize(
    "text",
    ["!!bool perhaps", '!!float ""', "!!timestamp soon", "9" * 5000, "0x" + "f" * 5000, "&a {b: *a}", "&a [*a]", "[" * 5000],
)
def test_what_yaml_cannot_mean_is_one_short_message(text):
    with pytest.raises(ConfigError) as caught:
        with_settings({}, [f"inner.size={text}"])
    assert str(caught.value).startswith("--set inner.size=") and len(str(caught.value)) < 600


@pytest.mark.parametrize("key", ["\u00b2", "1" * 5000])
def test_a_key_of_digits_that_are_no_number_of_a_stage_is_a_name(key):
    assert with_settings({}, [f"stages.{key}=1"]) == {"stages": {key: 1}}


def test_a_value_is_shown_shortened(tmp_path):
    assert len(_message({"inner": {"size": [1] * 10_000}})) < 200
    assert len(_message({"inner": {"size": "x" * 10_000}})) < 400
    assert len(_message({"inner": {"y" * 10_000: 1}})) < 400
    nested = [1] * 9
    for _ in range(30):
        nested = [nested] * 9
    assert len(_message({"inner": {"size": nested}})) < 20_000


def test_a_file_that_is_a_link_to_itself_is_refused_where_it_is_extended(tmp_path):
    (tmp_path / "round.yaml").symlink_to("round.yaml")
    (tmp_path / "a.yaml").write_text("extends: round.yaml")
    with pytest.raises(ConfigError, match=r"round\.yaml: cannot be read"):
        merged_layers(read_layers(tmp_path / "a.yaml", "search space"))


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": ' + "9" * 5000 + "}"])
def test_json_that_python_cannot_hold_is_damaged(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ConfigError, match="is damaged"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize("key", ["true", "1.0", "null", "yes: 1\nfalse"])
def test_a_key_that_would_pass_for_another_is_refused(key):
    with pytest.raises(ConfigError, match=r"a.yaml: line \d.* must be a word or a whole number"):
        parse_yaml(f"{key}: 2\n", where="a.yaml")


def test_aliases_that_multiply_are_refused_before_anything_walks_through_them():
    levels = [f"a{i}: &a{i} {{p: *a{i - 1}, q: *a{i - 1}, r: *a{i - 1}, s: *a{i - 1}}}" for i in range(1, 40)]
    with pytest.raises(ConfigError, match="must hold at most 1,000,000 values"):
        parse_yaml("\n".join(["a0: &a0 {x: 1}", *levels]), where="a.yaml")


def test_aliases_that_stand_for_little_are_read():
    assert parse_yaml("a: &a [1, 2]\nb: [*a, *a]", where="a.yaml") == {"a": [1, 2], "b": [[1, 2], [1, 2]]}


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_what_never_ends_is_not_read(tmp_path, make):
    make(tmp_path / "a.yaml")
    with pytest.raises(ConfigError, match="must be a file, but is a pipe or a device"):
        read_text(tmp_path / "a.yaml")


@pytest.mark.parametrize("number", ["9" * 19, "9" * 5000, "-" + "9" * 30, "0x" + "f" * 40])
def test_a_number_larger_than_any_count_is_refused_with_its_place(number):
    with pytest.raises(ConfigError, match=r"a.yaml: line 1, column 4: .* is larger than any count here"):
        parse_yaml(f"a: {number}", where="a.yaml")


# Where a wrong setting was written


def test_a_typo_in_a_parent_is_told_of_the_parent(tmp_path):
    (tmp_path / "parent.yaml").write_text("proxy: {epoks: 3}\n")
    (tmp_path / "child.yaml").write_text("name: child\nextends: parent.yaml\nproxy: {epochs: 3}\nspace: {stages: {1: {}}}\n")
    with pytest.raises(ConfigError) as caught:
        read_search(tmp_path / "child.yaml")
    lines = str(caught.value).splitlines()
    assert any(
        line.startswith(f"{tmp_path / 'parent.yaml'}: proxy: unknown key 'epoks'; did you mean epochs") for line in lines
    )
    assert any(line.startswith(f"{tmp_path / 'child.yaml'}: space.") for line in lines)


def test_a_value_is_told_of_the_file_that_wins_and_of_set_before_all(tmp_path):
    (tmp_path / "parent.yaml").write_text("extends: tiny\nproxy: {epochs: x}\n")
    (tmp_path / "child.yaml").write_text("name: child\nextends: parent.yaml\n")
    with pytest.raises(ConfigError, match=r"parent\.yaml: proxy\.epochs: must be a whole number, but got 'x'"):
        read_search(tmp_path / "child.yaml")
    with pytest.raises(ConfigError, match=r"child\.yaml \(with --set\): proxy\.epochs: must be a whole number, but got 'y'"):
        read_search(tmp_path / "child.yaml", settings=["proxy.epochs=y"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be a mapping of keys to values, but the file is empty"),
        ("[1]", "must be a mapping of keys to values, but got [1]"),
        ("extends: ''", "extends: must be one name or path of a YAML file, but got ''"),
        ("\0", "must be YAML, but: unacceptable character"),
    ],
)
def test_a_file_that_holds_no_mapping_is_refused_in_words(tmp_path, text, message):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_layers(tmp_path / "a.yaml", "recipe")
    assert str(caught.value).startswith(f"{tmp_path / 'a.yaml'}: {message}")


def test_no_value_that_is_shown_holds_a_password(tmp_path):
    (tmp_path / "a.yaml").write_text("extends: tiny\nname: postgresql://u:PW@h\nsearch: {storage: ['postgresql://u:PW@h']}\n")
    with pytest.raises(ConfigError) as caught:
        read_search(tmp_path / "a.yaml")
    assert "PW" not in str(caught.value) and "search.storage" in str(caught.value)
