"""Search spaces and recipes that are shipped are known by bare names, in any folder; a file of the user's comes first."""

import pytest

from nas.errors import ConfigError
from nas.run.settings.search import read_search
from nas.shipped import FOLDERS, shipped_files, yaml_path

MINE = "name: mine\nextends: {}\nsearch: {{trials: 3}}\n"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A folder of the user's, which has nothing to do with the checkout."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_bare_name_means_the_shipped_file(kind):
    files = shipped_files(kind)
    assert files
    for name, path in files.items():
        assert yaml_path(name, kind) == path and path.is_file()


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_folder_of_that_name_does_not_hide_it_and_a_file_does(kind, elsewhere):
    name = next(iter(shipped_files(kind)))
    (elsewhere / name).mkdir()
    assert yaml_path(name, kind) == shipped_files(kind)[name]
    (elsewhere / name).rmdir()
    (elsewhere / name).write_text("a file")
    assert yaml_path(name, kind).resolve() == elsewhere / name


@pytest.mark.parametrize("parent", ["tiny", "hybrid", "imagenet"])
def test_a_search_of_the_users_extends_a_shipped_one_by_its_name(parent, elsewhere):
    (elsewhere / "mine.yaml").write_text(MINE.format(parent))
    search = read_search("mine.yaml")
    assert (search.name, search.trials, search.space) == ("mine", 3, read_search(parent).space)


def test_a_path_in_a_file_starts_beside_that_file(elsewhere):
    (elsewhere / "spaces").mkdir()
    (elsewhere / "spaces" / "mine.yaml").write_text(MINE.format("tiny"))
    (elsewhere / "spaces" / "other.yaml").write_text(MINE.format("mine.yaml"))
    (elsewhere / "tiny").write_text("stands in the folder of the command, not beside the file")
    assert read_search("spaces/other.yaml").space == read_search(shipped_files("search space")["tiny"]).space


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        (
            "search space",
            "hybird",
            "unknown search space 'hybird'; did you mean hybrid? Known: blocks, hybrid, imagenet, pooling, tiny, with_a_plugin",
        ),
        ("search space", "zzz", "unknown search space 'zzz'. Known: blocks, hybrid, imagenet, pooling, tiny, with_a_plugin."),
        ("search space", "digits_quick", "unknown search space 'digits_quick'"),
        ("recipe", "caformer_30", "unknown recipe 'caformer_30'; did you mean caformer_300"),
        (
            "search space",
            "search_spaces/hybrid.yaml",
            "there is no such file. The search space that is shipped is called hybrid.",
        ),
        (
            "recipe",
            "digits_quick.yml",
            "digits_quick.yml: there is no such file. The recipe that is shipped is called digits_quick.",
        ),
    ],
)
def test_a_name_that_means_nothing_is_refused_with_the_nearest_ones(kind, name, message):
    with pytest.raises(ConfigError) as refused:
        yaml_path(name, kind, where="here")
    assert str(refused.value).startswith("here: ") and message in str(refused.value)


@pytest.mark.parametrize("name", ["mine.yaml", "folder/mine", "hybrid.yaml/mine"])
def test_a_path_that_is_missing_stays_what_was_asked_for(name):
    assert str(yaml_path(name, "search space")) == name


def test_a_bare_name_is_also_that_of_a_file_beside_where_none_is_shipped(tmp_path):
    for name in ("mine.yaml", "hybrid.yaml"):
        (tmp_path / name).touch()
    assert yaml_path("mine", "search space", folder=tmp_path) == tmp_path / "mine.yaml"
    assert yaml_path("hybrid", "search space", folder=tmp_path) == shipped_files("search space")["hybrid"]


@pytest.mark.parametrize("name", ["", ".", "x" * 300])
def test_what_is_no_name_is_refused_in_words(name, tmp_path):
    with pytest.raises(ConfigError, match="unknown search space"):
        yaml_path(name, "search space", folder=tmp_path)
