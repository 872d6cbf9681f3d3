import json
from pathlib import Path

import pytest

from nas.errors import ConfigError, NasError
from nas.retraining.folder import trained_folder
from nas.run.folder import open_folder, read_run
from nas.search.study import Study
from nas.space.reference import design
from nas.units import count
from nas.winners.lookup import _as_counted, architecture_of, counted_at, run_and_trial, trained_trial, trial_of
from nas.winners.selection import selected, the_trial


@pytest.fixture
def run(tiny, tmp_path):
    """A run of two trials, the first complete, the second failed."""
    folder = open_folder(tmp_path / "run", tiny())
    study = Study(tiny(), folder, manifest_hash="feed")
    study.finish(study.propose().number, accuracy=0.5, seconds=1.0)
    study.fail(study.propose().number, cause="diverged: loss nan", seconds=1.0)
    study.close()
    return folder.root, study.records


def test_a_design_is_found_by_its_name():
    assert architecture_of("poolformer_s12") == design("poolformer_s12")


def test_an_architecture_is_found_in_a_json_file_bare_or_under_its_key(tmp_path):
    wanted = design("caformer_s18")
    for name, data in (("bare.json", wanted.to_dict()), ("row.json", {"architecture": wanted.to_dict(), "trial": 3})):
        (tmp_path / name).write_text(json.dumps(data))
        assert architecture_of(str(tmp_path / name)) == wanted


def test_an_architecture_is_found_by_run_and_trial(run):
    root, records = run
    assert architecture_of(f"{root}:0") == records[0].architecture


def test_a_wrong_name_is_answered_with_the_nearest_ones():
    with pytest.raises(ConfigError, match=r"unknown design 'poolformr_s12'; did you mean poolformer_s12"):
        architecture_of("poolformr_s12")


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "line 1, column 2"), ("[1]", "must be a mapping of keys"), ('{"stages": []}', "stages: ")],
)
def test_a_json_file_that_holds_no_architecture_is_refused(tmp_path, content, message):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ConfigError, match=message):
        architecture_of(str(tmp_path / "a.json"))


def test_a_trial_that_does_not_exist_is_refused_with_those_that_do(run):
    with pytest.raises(NasError, match=r"has no trial 99\. The nearest are 0, 1;"):
        architecture_of(f"{run[0]}:99")


def test_the_weights_of_a_failed_trial_are_refused_with_its_cause(run):
    with pytest.raises(NasError, match=r"trial 1 is failed \(diverged: loss nan\)"):
        trained_trial(run[0], 1)


def test_weights_that_were_not_kept_are_refused_with_the_command_that_trains_them(run):
    with pytest.raises(NasError, match=r"were not kept.*nas retrain"):
        trained_trial(run[0], 0)


def test_a_folder_that_holds_no_weights_is_refused(tmp_path):
    with pytest.raises(NasError, match="is neither a run"):
        trained_folder(tmp_path)


def test_a_trial_is_counted_as_its_run_counts_and_a_design_as_the_papers_do(run):
    assert counted_at(f"{run[0]}:0") == (32, 10)
    assert counted_at("poolformer_s12") == (224, 1000)


def test_a_trial_is_named_behind_its_run_wherever_a_network_is_asked_for(run):
    root, records = run
    assert run_and_trial(root, 1) == (root, 1) and run_and_trial(root) == (root, None)
    assert run_and_trial(Path(f"{root}:1")) == run_and_trial(Path(f"{root}:1"), 1) == (root, 1)
    with pytest.raises(ConfigError, match="--trial: must be the one behind the colon"):
        run_and_trial(Path(f"{root}:1"), 2)
    (chosen,) = selected(f"{root}:0", trial=None, knee=False, front=False)
    assert (chosen.architecture, chosen.origin["trial"]) == (records[0].architecture, 0)


def test_a_folder_that_ends_like_a_trial_is_a_folder(tmp_path):
    (tmp_path / "run:3").mkdir()
    assert run_and_trial(tmp_path / "run:3") == (tmp_path / "run:3", None)


def test_a_run_that_does_not_exist_is_answered_with_the_nearest_ones(run, tmp_path, monkeypatch):
    root, _ = run
    with pytest.raises(ConfigError, match="run2: is no run: there is no such folder; did you mean "):
        trial_of(root.with_name("run2"), 0)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"quite-other: is no run.*\. Give a run, such as run\."):
        trial_of(Path("quite-other"), 0)


def test_what_is_exported_says_what_the_searchs_tables_counted(run):
    root, records = run
    search = read_run(root)[1]
    assert _as_counted(records[0], search) == f"{count(records[0].cost.macs)} MACs at 32 px and 10 classes"


EXPORTED = {
    "architecture": "metaformer_1a2b3c",
    "num_classes": 7,
    "pretrained_cfg": {"input_size": [3, 68, 68]},
    "metaformer": {"architecture": design("poolformer_s12").to_dict()},
}


def test_the_folder_of_an_export_or_a_retraining_names_its_network(tmp_path):
    exported, retrained = tmp_path / "exported", tmp_path / "retrained"
    for folder in (exported, retrained):
        folder.mkdir()
    (exported / "config.json").write_text(json.dumps(EXPORTED))
    (retrained / "architecture.json").write_text(json.dumps(design("poolformer_s12").to_dict()))
    assert architecture_of(str(exported)) == architecture_of(str(retrained)) == design("poolformer_s12")
    assert counted_at(str(exported)) == (68, 7)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metaformer": None}, "metaformer"),
        ({"num_classes": "ten"}, "num_classes"),
        ({"pretrained_cfg": {"input_size": 68}}, r"pretrained_cfg\.input_size"),
        ({"metaformer": {"architecture": {"stages": []}}}, r"metaformer\.architecture\.stages"),
    ],
)
def test_a_folder_whose_export_is_damaged_is_refused_by_file_and_path(tmp_path, changes, message):
    (tmp_path / "config.json").write_text(json.dumps({**EXPORTED, **changes}))
    with pytest.raises(ConfigError, match=rf"config\.json: {message}"):
        architecture_of(str(tmp_path))


def test_a_designs_name_is_the_design_whatever_folder_is_called_so(tmp_path, monkeypatch):
    (tmp_path / "caformer_s18").mkdir()
    (tmp_path / "caformer_s18" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert counted_at("caformer_s18") == (224, 1000) and architecture_of("caformer_s18") == design("caformer_s18")


def test_a_folder_without_a_network_is_refused(run, tmp_path):
    with pytest.raises(ConfigError, match=r"is a search's folder\. Say which network"):
        architecture_of(str(run[0]))
    with pytest.raises(ConfigError, match="but has neither"):
        architecture_of(str(tmp_path))


def test_the_knee_stands_for_a_trial_and_not_beside_one(run):
    assert the_trial(run[0], 1, knee=False) == (run[0], 1)
    with pytest.raises(ConfigError, match="--knee: one choice at a time, but trial 1 is named as well"):
        the_trial(Path(f"{run[0]}:1"), None, knee=True)
    with pytest.raises(NasError, match="has no knee"):
        the_trial(run[0], None, knee=True)
