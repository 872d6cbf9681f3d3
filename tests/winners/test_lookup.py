import json

import pytest

from nas.errors import ConfigError, NasError
from nas.retraining.folder import trained_folder
from nas.run.folder import open_folder
from nas.search.study import Study
from nas.space.reference import design
from nas.winners.lookup import architecture_of, counted_at, trained_trial


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
    with pytest.raises(NasError, match=r"has no trial 99\. The last ones are 0, 1;"):
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
