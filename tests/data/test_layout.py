"""Names alone say which files are images of which class and split; what could be either is refused, what is left out named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.data.layout import TEST_NAMES, TRAIN_NAMES, arranged, is_image_name, plain_name
from nas.errors import ConfigError


def names(*folders, images=2):
    """Paths of some images in each folder."""
    return [f"{folder}/{i}.png" for folder in folders for i in range(images)]


def layout(*folders, also=()):
    return arranged([*names(*folders), *also], where="DATA")


def refusal(*folders, also=()):
    with pytest.raises(ConfigError) as caught:
        layout(*folders, also=also)
    return str(caught.value)


def cased(name):
    return st.sampled_from([name, name.title(), name.upper(), f"{name}_set", f"{name}2017", f"{name}-images", f"{name} data"])


@given(train=st.sampled_from(TRAIN_NAMES).flatmap(cased), test=st.sampled_from(TEST_NAMES).flatmap(cased))
def test_splits_are_known_by_their_usual_names_in_any_case(train, test):
    arrangement = layout(f"{train}/cat", f"{train}/dog", f"{test}/cat", f"{test}/dog")
    assert list(arrangement.train) == ["cat", "dog"]
    assert arrangement.train["cat"] == [f"{train}/cat/0.png", f"{train}/cat/1.png"]
    assert arrangement.test is not None and arrangement.test["dog"] == [f"{test}/dog/0.png", f"{test}/dog/1.png"]


@pytest.mark.parametrize("classes", [("bus", "car", "train"), ("exam", "quiz", "test"), ("dev", "ops"), ("Train", "plane")])
def test_a_class_may_be_called_like_a_split_where_it_holds_images(classes):
    arrangement = layout(*classes)
    assert list(arrangement.train) == sorted(classes)
    assert arrangement.test is None and not arrangement.doubt


@pytest.mark.parametrize(
    "folders",
    [
        ("first/cat", "first/dog", "second/cat", "second/dog"),  # splits that nobody would know
        ("cat/train", "cat/val", "dog/train", "dog/val"),  # splits within classes
        ("train", "test"),  # images without classes
        ("training", "testing", "other"),
        ("Val", "Test"),
    ],
)
def test_what_may_be_splits_and_no_classes_is_doubted(folders):
    assert layout(*folders).doubt


@pytest.mark.parametrize(
    "folders", [("cat/images", "dog/images"), ("cat/left", "cat/right", "dog/left", "dog/top"), ("a/x", "b")]
)
def test_folders_within_classes_are_no_reason_to_doubt(folders):
    arrangement = layout(*folders)
    assert len(arrangement.train) == 2 and not arrangement.doubt


def test_of_several_held_out_splits_one_is_taken_and_the_others_are_named():
    arrangement = layout("train/a", "train/b", "val/a", "val/b", "test/a", "test/b")
    assert arrangement.test is not None and arrangement.test["a"][0] == "val/a/0.png"
    assert arrangement.ignored == (("test/", "passed over: val/ is the held-out split"),)


def test_every_folder_beside_the_splits_is_named():
    arrangement = layout(
        "train/a", "train/b", "val/a", "val/b", "extra/a", "masks", also=["test/0.png", "doc/readme.txt", "doc/"]
    )
    assert dict(arrangement.ignored) == {
        "extra/": "passed over: not called like a split",
        "masks/": "passed over: not called like a split",
        "test/": "passed over: it holds no class folders",
        "doc/readme.txt": "no image by its file name",
        "doc/": "a folder without images",
    }


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        (("val/a", "val/b"), "val/ needs a train/ beside it"),
        (("test/a", "test/b", "cat", "dog"), "no train/ stands beside it: cat/, dog/ do"),
        (("train/a", "Train/b"), "must have one training split, but Train/, train/"),
        (("train/a", "train/b", "rest/a", "rest/b"), "rest/ holds the same folders as train/"),
        (("bus", "car", "train/steam", "train/diesel"), "bus/, car/ beside it hold images, like classes"),
    ],
)
def test_what_could_be_a_split_or_a_class_is_refused(folders, words):
    assert words in refusal(*folders)


def test_a_training_split_alone_is_one():
    arrangement = layout("train/a", "train/b")
    assert (list(arrangement.train), arrangement.test) == (["a", "b"], None)


@pytest.mark.parametrize("around", ["pets/", "home/user/pets/", "./".strip("./")])
@pytest.mark.parametrize("below", ["", "train/"])
def test_folders_around_all_others_are_looked_through(around, below):
    arrangement = layout(f"{around}{below}cat", f"{around}{below}dog", also=[f"{around}logo.png", "README.md"])
    assert arrangement.train == {"cat": names(f"{below}cat"), "dog": names(f"{below}dog")}
    assert arrangement.top == around
    assert dict(arrangement.ignored)["logo.png"] == "an image outside of all class folders"


@pytest.mark.parametrize(
    "part", [".ipynb_checkpoints", "@eaDir", "__MACOSX", ".thumbnails", "$RECYCLE.BIN", "lost+found", ".git"]
)
@pytest.mark.parametrize("place", ["{}/cat", "cat/{}", "cat/sub/{}/deep"])
def test_copies_in_hidden_and_junk_folders_are_no_images(part, place):
    junk = place.format(part)
    arrangement = layout("cat", "dog", junk)
    assert arrangement.train == {"cat": names("cat"), "dog": names("dog")}
    assert [why for name, why in arrangement.ignored if part in name] == [
        "a hidden folder, or one that is no part of a data set"
    ]


def test_hidden_files_are_left_out_without_a_word():
    arrangement = layout("cat", "dog", also=["cat/._0.png", "cat/.DS_Store", "dog/Thumbs.db", ".hidden.png"])
    assert (arrangement.train["cat"], arrangement.ignored) == (names("cat"), ())


def test_a_class_folder_without_images_stays_to_be_missed():
    assert layout("cat", "dog", also=["bird/", "bird/0.heif"]).train["bird"] == []


@pytest.mark.parametrize("ending", ["png", "JPEG", "jpg", "webp", "tif", "bmp", "gif", "ppm", "jp2", "avif"])
def test_endings_of_images_are_known_in_any_case(ending):
    assert is_image_name(f"a.{ending}")


@pytest.mark.parametrize("ending", ["pdf", "h5", "hdf", "mpg", "mpeg", "eps", "ps", "txt", "json", "npy", "", "wmf", "grib"])
def test_endings_that_pillow_lists_but_no_image_has_are_none(ending):
    assert not is_image_name(f"a.{ending}")


def test_names_are_written_in_one_unicode_form_and_without_bytes_that_are_none():
    assert plain_name("cafe\u0301") == "caf\u00e9" == plain_name("caf\u00e9")
    assert plain_name("caf\udce9/0.png") == "caf\\xe9/0.png"
    assert plain_name("plain") == "plain"
    plain_name("\ud800").encode()


@given(st.lists(st.text(alphabet="ab/.tT", min_size=1, max_size=8), max_size=8, unique_by=lambda path: path.strip("/")))
def test_any_names_are_arranged_or_refused(paths):
    tree = [f"{path.strip('/')}.png" for path in paths if path.strip("/")]
    try:
        arrangement = arranged(tree, where="DATA")
    except ConfigError:
        return
    listed = [i for pool in (arrangement.train, arrangement.test or {}) for ids in pool.values() for i in ids]
    assert len(set(listed)) == len(listed)
    assert {arrangement.top + i for i in listed} <= set(tree)


def test_folders_may_lie_deeper_than_python_calls_itself():
    deep = "a/" + "d/" * 3000 + "0.png"
    layout = arranged([*(f"{name}/{i}.png" for name in "ab" for i in range(2)), deep], where="DATA")
    assert layout.train == {"a": ["a/0.png", "a/1.png", deep], "b": ["b/0.png", "b/1.png"]}


def test_a_split_with_an_image_beside_its_classes_is_refused_with_the_image():
    for split, other in (("train", "val"), ("val", "train")):
        text = refusal(f"{other}/cat", f"{other}/dog", f"{split}/cat", f"{split}/dog", also=[f"{split}/montage.png"])
        assert f"{split}/ is called like a split, but holds images beside its folders: {split}/montage.png" in text


def test_folders_that_hold_splits_are_in_doubt_as_classes():
    splits = [f"{split}/{name}" for split in ("train", "val") for name in ("cat", "dog")]
    assert "data/ holds train/, val/, called like splits" in layout(*(f"data/{split}" for split in splits), "docs").doubt


def test_folders_with_the_word_of_a_split_and_the_same_classes_are_in_doubt():
    doubled = [f"seg_{split}/seg_{split}/{name}" for split in ("train", "test") for name in ("sea", "street")]
    assert "seg_test/, seg_train/ hold the same folders" in layout(*doubled, "seg_pred/seg_pred").doubt
    assert not layout("test_tube", "train_car", "flask").doubt


def test_images_in_every_folder_between_a_split_and_its_classes_are_named():
    folders = [f"{split}/x/y/{name}" for split in ("train", "val") for name in ("ant", "bee")]
    strays = {"train/x/1.png", "train/x/y/2.png", "val/x/3.png"}
    assert dict(layout(*folders, also=strays).ignored) == dict.fromkeys(strays, "an image outside of all class folders")
