import shlex

import pytest
import yaml

from nas.errors import ConfigError, NasError
from nas.recipes.full import read_full_recipe
from nas.run.folder import ITS_IMAGES, open_folder, plain_search, read_run, retrain_command, update_folder


def test_a_run_is_read_back_as_it_was_opened(tmp_path, tiny):
    folder = open_folder(tmp_path / "run", tiny())
    assert read_run(folder.root) == (folder, tiny())


def test_the_folder_says_which_versions_made_it(tmp_path, tiny):
    text = open_folder(tmp_path / "run", tiny()).search_yaml.read_text()
    assert "optuna:" in text and "started:" in text


def test_another_search_in_the_same_folder_is_refused_with_the_difference(tmp_path, tiny):
    open_folder(tmp_path, tiny())
    with pytest.raises(ConfigError, match=r"search\.seed: 0 in the run, now 7"):
        open_folder(tmp_path, tiny("search.seed=7"))


@pytest.mark.parametrize("setting", ["search.trials=99", "resources.workers=1", "proxy.data=elsewhere"])
def test_how_much_and_where_may_change(tmp_path, tiny, setting):
    open_folder(tmp_path, tiny())
    open_folder(tmp_path, tiny(setting))


def test_what_changed_is_written_down_and_the_begin_stays(tmp_path, tiny):
    folder = open_folder(tmp_path, tiny())
    head = yaml.safe_load(folder.search_yaml.read_text())["run"]
    update_folder(folder, tiny("search.trials=99"))
    assert read_run(tmp_path)[1].search.trials == 99
    assert yaml.safe_load(folder.search_yaml.read_text())["run"] == head


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path, tiny):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="is not empty and holds no search"):
        open_folder(tmp_path, tiny())
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_folder_that_cannot_be_made_is_refused(tmp_path, tiny):
    (tmp_path / "file").write_text("")
    with pytest.raises(NasError, match="cannot be written"):
        open_folder(tmp_path / "file" / "run", tiny())


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="is no run"):
        read_run(tmp_path)


def test_a_damaged_search_yaml_is_refused(tmp_path, tiny):
    open_folder(tmp_path, tiny()).search_yaml.write_text("[]")
    with pytest.raises(ConfigError, match="is damaged"):
        read_run(tmp_path)


def test_a_password_is_never_written_down(tmp_path, tiny):
    search = tiny("search.storage=postgresql://me:secret@host/db")
    assert plain_search(search)["search"]["storage"] == "postgresql://me:***@host/db"
    assert "secret" not in open_folder(tmp_path, search).search_yaml.read_text()


def test_the_printed_retraining_learns_from_the_same_kind_of_images(tiny, tmp_path):
    classes = ["tench, fish", "it's", "nö"]
    search = tiny(
        f"proxy.classes={classes}", "proxy.white=4095", "proxy.keep_copies=true", "proxy.flip=true", "proxy.image_size=48"
    )
    words = shlex.split(retrain_command(tmp_path, search, 3))
    settings = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    recipe = read_full_recipe(words[words.index("--recipe") + 1], settings=settings)
    assert {name: getattr(recipe, name) for name in ITS_IMAGES} == {name: getattr(search.proxy, name) for name in ITS_IMAGES}
    assert recipe.image_size == 48 and recipe.classes == tuple(classes)
