import json
import pickle
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from nas.config.values import validated
from nas.errors import ConfigError, NasError
from nas.models.metaformer import build
from nas.results.columns import of_plugins
from nas.results.front import load
from nas.run.folder import check_folder, open_folder, read_run
from nas.run.settings.search import Search
from nas.search.sources import Finding, LearntFile, SourceCopy, keep_sources
from nas.search.study import Study
from nas.space.mixers import MIXERS, VERSIONS, row_of
from nas.space.plugins.code import digest_of
from nas.space.plugins.plugin import PLUGINS, plugin_line
from tests.studies import finish_all

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "search_spaces" / "gated_mixer.py"
MIXER = """
import torch
from torch import nn

class Mine(nn.Module):
    def __init__(self, stage, *, side, activation):
        super().__init__()
        self.conv = nn.Conv2d(stage.width, stage.width, stage.reach, padding=stage.reach // 2, groups=stage.width)

    def forward(self, x):
        return self.conv(x)

MIXERS = {"mine": {"module": Mine, "letter": "M", "options": {"reach": [3, 5]}}}
"""


@pytest.fixture
def search_with(tmp_path):
    """A search whose last stage may have the mixer of a plugin's text."""

    def read(text: str = MIXER, *, name: str = "mine", **settings) -> Search:
        file = tmp_path / "my_mixers.py"
        file.write_text(text)
        stage = {"mixer": ["pool", name], "width": [16, 32], "depth": 1, **settings}
        space = {"image_size": 32, "num_classes": 10, "plugins": [str(file)], "stages": {1: stage}}
        return validated(Search, {"name": "plugged", "space": space}, where="mine.yaml")

    return read


def drawn(search: Search, **chosen):
    choices = {"stage1.mixer": "mine", **chosen}
    return search.space.draw(lambda name, options: choices.get(name, options[0]))


def test_a_plugins_mixer_is_counted_built_and_described_like_ours(search_with):
    search = search_with(reach=[3, 5])
    assert search.space.axes["stage1.reach"] == (3, 5)
    assert search.space.size == 2 * (1 + 2)  # widths; a reach under mine alone
    architecture = drawn(search, **{"stage1.reach": 5})
    assert architecture.describe() == "M1·16" and search.space.contains(architecture)
    mixer = 16 * 25 + 16  # a filter a channel, and its bias
    assert row_of(architecture.stages[0]).cost(architecture.stages[0], 64)[:3] == (mixer, 0, 16 * 25 * 64)
    network = build(architecture, image_size=32, num_classes=10)
    assert search.space.cost(architecture).params == sum(p.numel() for p in network.parameters())


def test_an_option_under_another_mixer_makes_no_new_architecture(search_with):
    search = search_with(reach=[3, 5])
    pools = {drawn(search, **{"stage1.mixer": "pool", "stage1.reach": reach}).key for reach in (3, 5)}
    assert len(pools) == 1


def test_a_whole_number_is_a_choice_of_fractions(search_with):
    search = search_with(MIXER.replace("[3, 5]", "1.0").replace("stage.reach", "int(stage.reach)"), reach=[3, 5])
    stages = [drawn(search, **{"stage1.reach": reach}).stages[0] for reach in (3, 3.0)]
    assert stages[0] == stages[1] and type(stages[0].option("reach")) is float


def test_other_code_under_the_same_name_is_another_network(search_with):
    one, other = drawn(search_with()), drawn(search_with(MIXER + "# changed\n"))
    assert one.identity != other.identity
    assert one.stages[0].plugin != other.stages[0].plugin and one.describe() == other.describe()


def test_two_versions_of_a_plugin_live_side_by_side(search_with):
    one = drawn(search_with())
    twice = MIXER.replace("return self.conv(x)", "return 2 * self.conv(x)")
    other = drawn(search_with(twice))
    sources = [PLUGINS[a.stages[0].plugin].source for a in (one, other)]
    assert sources == [MIXER, twice]
    classes = [type(build(a, image_size=32, num_classes=10).stages[0].blocks[0].token_mixer) for a in (one, other)]
    assert classes[0] is not classes[1]


@pytest.mark.thorough
def test_an_architecture_brings_its_plugin_to_another_process(search_with, tmp_path):
    architecture = drawn(search_with())
    (tmp_path / "pickled").write_bytes(pickle.dumps(architecture))
    (tmp_path / "my_mixers.py").unlink()
    code = (
        f"import pickle; a = pickle.loads(open({str(tmp_path / 'pickled')!r}, 'rb').read())\n"
        "from nas.models.metaformer import build; from nas.space.architecture import Architecture\n"
        "assert Architecture.model_validate(a.to_dict()) == a; print(a.describe(), build(a, image_size=32, num_classes=2))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0 and done.stdout.startswith("M1·16") and "Mine(" in done.stdout, done.stderr


def test_a_run_is_read_without_running_its_plugin(search_with, tmp_path):
    search = search_with()
    cost = search.space.cost(drawn(search))
    open_folder(tmp_path / "run", search)
    copy = tmp_path / "run" / "plugins" / PLUGINS[search.space.plugins[0].digest].copy_name
    copy.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    there = read_run(tmp_path / "run")[1]
    assert there.space.cost(drawn(there)) == cost and not (tmp_path / "ran").exists()
    PLUGINS.clear()  # as in a process that has not named it
    there = read_run(tmp_path / "run")[1]
    with pytest.raises(NasError, match="holds other code"):
        build(drawn(there), image_size=32, num_classes=10)
    assert not (tmp_path / "ran").exists()


def test_what_a_search_counts_at_another_size_is_read_without_running_its_plugin(search_with, tmp_path):
    search = search_with()
    search = validated(Search, {**search.model_dump(), "objectives": ["accuracy", "macs@64"]}, where="mine.yaml")
    counted = search.cost_at("macs@64", drawn(search))
    open_folder(tmp_path / "run", search)
    PLUGINS.clear()
    assert read_run(tmp_path / "run")[1].cost_at("macs@64", drawn(search)) == counted


def test_networks_of_plugins_are_left_out_of_a_front_at_a_size_that_the_search_did_not_count(search_with):
    search = search_with()
    both = [drawn(search, **{"stage1.mixer": mixer}) for mixer in ("mine", "pool")]
    assert of_plugins(pd.DataFrame({"architecture": [json.dumps(a.to_dict()) for a in both]})).tolist() == [True, False]


@pytest.mark.parametrize(
    "written", ["[{path}]", "{path}", "[{{file: {path}, sha256: {sha256}, mixers: {{mine: {{module: M, letter: M}}}}}}]"]
)
def test_a_search_yaml_in_a_run_cannot_have_code_run(search_with, tmp_path, written):
    search = search_with()
    open_folder(tmp_path / "run", search)
    evil = tmp_path / "evil.py"
    evil.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    file = tmp_path / "run" / "search.yaml"
    text = file.read_text()
    start, end = text.index("  plugins:"), text.index("  image_size:")
    file.write_text(f"{text[:start]}  plugins: {written.format(path=evil, sha256=digest_of(evil.read_text()))}\n{text[end:]}")
    with pytest.raises(NasError, match="reading a run runs no plugin"):
        read_run(tmp_path / "run")
    assert not (tmp_path / "ran").exists()


def test_other_code_is_refused_on_resume(search_with, tmp_path):
    open_folder(tmp_path / "run", search_with())
    check_folder(tmp_path / "run", search_with())
    with pytest.raises(ConfigError, match=r"other code of my_mixers.py, of which it keeps a copy. Go on with that: nas search"):
        check_folder(tmp_path / "run", search_with(MIXER + "# changed\n"))


@pytest.mark.thorough
def test_runs_with_two_versions_of_a_plugin_are_shown_together(search_with, tmp_path):
    texts = (MIXER, MIXER.replace('"letter"', '"uses_activation": False, "letter"'))
    for name, text in zip("ab", texts, strict=True):
        search = search_with(text, reach=[3, 5])
        finish_all(Study(search, open_folder(tmp_path / name, search), manifest_hash="feed"))
    trials = load(tmp_path / "a", tmp_path / "b")
    mine = trials[trials["stage1_mixer"] == "mine"]
    assert set(mine["run"].map(str)) and mine["stages"].str.startswith("M1").all()
    assert set(mine["stage1_reach"]) == {3, 5} and len({a.stages[0].plugin for a in mine["architecture"]}) == 2
    assert "plugin" not in "".join(trials.columns)


def test_networks_that_were_learnt_are_read_where_nothing_names_their_plugin(search_with, tmp_path):
    search = search_with()
    folder = open_folder(tmp_path / "run", search)
    finding = Finding(architecture=drawn(search), accuracy=0.5)
    keep_sources(search, folder, [SourceCopy(path="/old", findings=(finding,))])
    for table in (PLUGINS, VERSIONS):
        table.clear()
    del MIXERS["mine"]
    (there,) = LearntFile.model_validate_json((folder.root / "learnt.json").read_text()).sources
    assert there.findings == (finding,)


def test_what_is_said_of_a_plugin_names_what_keeps_it_from_an_export(search_with):
    (plugin,) = search_with(f"import packaging.version\n{MIXER}").space.plugins
    assert "mine from" in plugin_line(plugin) and "it imports packaging, so its networks can't be exported" in plugin_line(
        plugin
    )


def test_the_example_is_one_short_file():
    assert len(EXAMPLE.read_text().splitlines()) <= 40


FAULTS = {
    "no such package": ("import no_such_package", "my_mixers.py: can't be imported: line 1: ModuleNotFoundError: No module"),
    "bad syntax": ("def f(:\n", "my_mixers.py: can't be imported: line 1: SyntaxError"),
    "an exit": ("x = 1\nraise SystemExit(3)", "can't be imported: line 2: SystemExit"),
    "no table": ("x = 1", "MIXERS: must be a mapping of names to mixers"),
    "an empty table": ("MIXERS = {}", "MIXERS: must be a mapping of names to mixers"),
    "no forward": (MIXER.replace("def forward", "def forwards"), "MIXERS.mine.module: must have a method forward"),
    "no class": (MIXER.replace('"module": Mine', '"module": "Mine"'), "MIXERS.mine.module: must be a class"),
    "a column too many": (MIXER.replace('"letter"', '"colour": 1, "letter"'), "unknown key 'colour'"),
    "no letter": (MIXER.replace('"letter": "M", ', ""), "MIXERS.mine: letter: this key is required"),
    "a letter of ours": (MIXER.replace('"M"', '"P"'), "letter: must be a letter of its own, but P is that of pool"),
    "a name of ours": (MIXER.replace('"mine"', '"pool"'), "must not be called like a built-in mixer"),
    "an option of the stage": (MIXER.replace('"reach": ', '"depth": [1], "reach": '), "must not be called like other settings"),
    "another shape": (MIXER.replace("padding=stage.reach // 2", "padding=0"), "must keep the shape (1, 16, 8, 8)"),
    "a pair": (MIXER.replace("return self.conv(x)", "return x, x"), "must give a tensor, but gives tuple"),
    "a failing constructor": (MIXER.replace("super()", "assert stage.width < 32, 'wide'; super()"), "AssertionError: wide"),
    "an activation kept quiet": (MIXER.replace("self.conv =", "self.act = activation(); self.conv ="), "uses_activation must"),
    "positions kept quiet": (
        MIXER.replace("self.conv =", "self.at = nn.Parameter(torch.zeros(side)); self.conv ="),
        "position_weights must name the weights whose shape depends on the map's side, ['at']",
    ),
    "a wrong cost": (
        MIXER.replace('"letter"', '"cost": lambda stage, n: {"params": 1, "macs": 1}, "letter"'),
        "cost says params=1, but the module has 160",
    ),
    "a cost of fractions": (
        MIXER.replace('"letter"', '"cost": lambda stage, n: {"params": 160.0, "macs": 1}, "letter"'),
        "cost must give whole numbers from 0, but params is 160.0",
    ),
    "an exit in the constructor": (MIXER.replace("super()", "raise SystemExit(3); super()"), "SystemExit"),
    "no choices": (MIXER.replace("[3, 5]", "()"), "MIXERS.mine.options: must map names to a default, or to a list of choices"),
    "an input that is changed": (MIXER.replace("return self.conv(x)", "return x.mul_(2)"), "must leave its input as it is"),
    "half a cost": (MIXER.replace('"letter"', '"cost": lambda stage, n: 7, "letter"'), "cost must give {params, macs}"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_plugin_that_is_none_is_refused_in_one_line(search_with, fault):
    text, rule = FAULTS[fault]
    with pytest.raises(ConfigError) as raised:
        search_with(text, name="pool2" if fault == "a name of ours" else "mine")
    message = str(raised.value)
    assert message.startswith("mine.yaml: space.") and rule in message and "my_mixers.py" in message
    assert len(message.splitlines()) == 1 and "Traceback" not in message


def test_a_value_that_a_plugins_option_cannot_have_is_refused(search_with):
    for value, rule in (
        (4, "must be one of 3, 5 for mine, but got 4"),
        ("3", "must be a int"),
        ([3, 4], "must be one of 3, 5 for mine, but got 4"),
    ):
        with pytest.raises(ConfigError, match=f"mine.yaml: space.stages.1.reach: {rule}"):
            search_with(reach=value)
    with pytest.raises(ConfigError, match="unknown key 'reech'"):
        search_with(reech=3)


@pytest.mark.parametrize("written", ["nowhere.py", "no_such_entry_point", "", 3])
def test_a_plugin_that_is_nowhere_is_refused(written):
    space = {"plugins": [written], "stages": {1: {"mixer": "pool", "depth": 1, "width": 8}}}
    with pytest.raises(ConfigError, match=r"mine.yaml: space.plugins: "):
        validated(Search, {"name": "mine", "space": space}, where="mine.yaml")


def test_an_entry_point_of_an_installed_package_is_a_plugin(tmp_path, monkeypatch):
    (tmp_path / "their_mixers.py").write_text(MIXER)
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[metaformer_nas.mixers]\ntheirs = their_mixers\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    space = {"image_size": 32, "plugins": "theirs", "stages": {1: {"mixer": "mine", "depth": 1, "width": 8}}}
    search = validated(Search, {"name": "plugged", "space": space}, where="mine.yaml")
    assert MIXERS["mine"].plugin == search.space.plugins[0].digest
