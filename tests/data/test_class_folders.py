"""Class folders are read as a disk has them, links and foreign names included; what is none is refused in one message."""

import os
import sys
import unicodedata

import pytest

from nas.data.manifest import Manifest, load_split
from nas.data.registry import open_source
from tests.images import class_folders, manifest_of, picture, refusal


def test_a_missing_folder_is_refused_with_the_other_choices(tmp_path):
    assert "digits" in refusal(tmp_path / "nowhere")


def test_a_folder_without_class_folders_is_refused(tmp_path):
    picture(tmp_path / "images" / "one.png")
    assert "one folder for each class" in refusal(tmp_path / "images")


def test_a_val_folder_without_train_is_refused(tmp_path):
    class_folders(tmp_path / "images" / "val")
    assert "train/" in refusal(tmp_path / "images")


# Links, names and what else a disk may hold


def test_linked_folders_within_a_class_are_followed(folder, tmp_path):
    class_folders(tmp_path / "more", classes=("extra",), first=5000)
    (folder / "ant" / "linked").symlink_to(tmp_path / "more" / "extra")
    (folder / "dog").symlink_to(tmp_path / "more" / "extra")
    source = open_source(str(folder))
    assert [name for name in source.train["ant"] if name.startswith("ant/linked/")] == [
        f"ant/linked/{i:03}.png" for i in range(10)
    ]
    assert len(source.train["dog"]) == 10


def test_a_link_to_itself_is_a_broken_one(folder):
    (folder / "ant" / "own.png").symlink_to("own.png")
    (folder / "bee" / "here").symlink_to("there")
    (folder / "bee" / "there").symlink_to("here")
    source = open_source(str(folder))
    assert {name: why for name, why in source.ignored} == dict.fromkeys(
        ["ant/own.png", "bee/here", "bee/there"], "a broken link"
    )
    assert len(source.train["ant"]) == 10


def test_links_in_a_circle_and_broken_ones_are_named(folder):
    (folder / "ant" / "round").symlink_to(folder)
    (folder / "bee" / "gone.png").symlink_to(folder / "nowhere.png")
    (folder / "bee" / "lost").symlink_to(folder / "nowhere")
    (folder / "bee" / "itself").symlink_to("itself")
    (folder / "bee" / "through").symlink_to("000.png/file")
    (folder / "bee" / "long").symlink_to("y" * 1000)
    os.mkfifo(folder / "cat" / "pipe.png")
    source = open_source(str(folder))
    assert {name: why for name, why in source.ignored} == {
        "ant/round/": "a link to a folder around it",
        "bee/gone.png": "a broken link",
        "bee/lost": "a broken link",
        "bee/itself": "a broken link",
        "bee/through": "a broken link",
        "bee/long": "a broken link",
        "cat/pipe.png": "no plain file",
    }
    assert len(source.train["ant"]) == 10


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has one form of each name on its disks")
def test_a_class_in_two_unicode_forms_is_one(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    class_folders(tmp_path / "train", classes=(composed, "tea"))
    class_folders(tmp_path / "val", classes=(decomposed, "tea"), images=4, first=500)
    manifest = manifest_of(tmp_path, classes=(decomposed, "tea"))
    assert manifest.class_names == (composed, "tea")
    assert load_split(manifest, "test", image_size=8).pixels.shape[0] == len(manifest.test) == 8


def test_a_class_whose_name_is_not_utf8_is_read_and_said(folder):
    os.rename(folder / "bee", os.fsencode(folder) + b"/caf\xe9")
    manifest = manifest_of(folder)
    assert manifest.class_names == ("ant", "caf\\xe9", "cat")
    assert "their other bytes are written as" in manifest.notes[0]
    Manifest.model_validate_json(manifest.model_dump_json())
    assert len(load_split(manifest, "train", image_size=8).pixels)


def test_a_folder_that_cannot_be_listed_is_refused_by_name(folder, monkeypatch):
    def refuses(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuses)
    assert f"{folder}: must be a folder that can be listed, but: Permission denied" in refusal(folder)


def test_a_folder_of_a_folder_of_classes_is_looked_through(tmp_path):
    class_folders(tmp_path / "data" / "pets")
    manifest = manifest_of(tmp_path / "data")
    assert manifest.class_names == ("ant", "bee", "cat")
    assert manifest.notes == ("the class folders were looked for in pets/",)
    assert manifest.hash == manifest_of(tmp_path / "data" / "pets").hash
    assert len(load_split(manifest, "train", image_size=9).pixels) == len(manifest.train)


def test_classes_in_doubt_are_refused_unless_they_are_listed(tmp_path):
    for split in ("first", "second"):
        class_folders(tmp_path / split, first=5000 * (split == "first"))
    assert "hold the same folders (ant/, bee/, cat/)" in refusal(tmp_path)
    assert manifest_of(tmp_path, classes=("first", "second")).class_names == ("first", "second")


def test_a_list_of_classes_may_hold_spaces_a_bom_and_words_behind_the_names(tmp_path):
    class_folders(tmp_path / "images", classes=("hot dog", "n01440764", "tea"))
    listed = tmp_path / "classes.txt"
    listed.write_text("hot dog\r\nn01440764 tench, Tinca tinca\n\n# a remark\ntea\tthe drink\n", encoding="utf-8-sig")
    assert manifest_of(tmp_path / "images", classes=str(listed)).class_names == ("hot dog", "n01440764", "tea")
    listed.write_text("tea one\ntea two\n")
    assert "'tea' stands twice" in refusal(tmp_path / "images", classes=str(listed))


def test_folders_that_all_link_to_each_other_are_walked_in_no_time(tmp_path):
    root = class_folders(tmp_path / "images")
    for i in range(9):
        (root / "ant" / f"sub{i}").mkdir()
    for i in range(9):
        for j in range(9):
            (root / "ant" / f"sub{i}" / f"to{j}").symlink_to(root / "ant" / f"sub{j}")
    source = open_source(str(root))
    assert len(source.train["ant"]) == 10
    assert any(why == "links have led to this folder 20 times already" for _, why in source.ignored)


def test_runs_within_the_data_are_no_class(folder):
    for run in ("runs/mine", "runs/other"):
        picture(folder / run / "front.png")
        picture(folder / run / "mixers.png", seed=1)
        (folder / run / "search.yaml").write_text("name: mine")
    source = open_source(str(folder))
    assert list(source.train) == ["ant", "bee", "cat"]
    assert ("runs/mine/", "a run of this tool") in source.ignored
