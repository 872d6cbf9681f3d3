"""No file stands in two splits, under whatever names; what is left out for that is counted and named."""

import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.data.splits import split_up
from nas.recipes.recipe import Recipe
from tests.images import ids, manifest_of


def copied(folder, *, into, number=10):
    """Copies of a class's first images elsewhere, under other names."""
    into.mkdir(parents=True, exist_ok=True)
    for i in range(number):
        shutil.copy(folder / f"{i:03}.png", into / f"copy-{i:03}.png")


def contents(folder, manifest, split):
    return {(folder / name).read_bytes() for name in ids(manifest, split)}


def shared(folder, manifest):
    """How many files stand in two splits."""
    train, validation, test = (contents(folder, manifest, split) for split in ("train", "validation", "test"))
    return len(train & validation) + len(train & test) + len(validation & test)


def test_copies_in_one_folder_of_classes_stand_in_one_split(folder):
    for name in ("ant", "bee", "cat"):
        copied(folder / name, into=folder / name)
    manifest = manifest_of(folder)
    assert shared(folder, manifest) == 0
    assert len(manifest.validation) == 3 * 3  # as many as without copies: a fifth of the 16 of each class
    left_out = [why for _, why in manifest.skipped]
    assert left_out and all(why.startswith("a copy of ") for why in left_out)
    assert manifest.notes[0].startswith(
        f"{len(left_out)} copies of images in another split are left out (--set proxy.keep_copies="
    )
    assert shared(folder, manifest_of(folder, keep_copies=True)) > 0


def test_a_test_split_of_ones_own_loses_what_is_trained_on_or_judged_by(split_folder):
    copied(split_folder / "train" / "ant", into=split_folder / "val" / "ant", number=3)
    manifest = manifest_of(split_folder)
    assert shared(split_folder, manifest) == 0
    assert {name for name, _ in manifest.skipped} == {f"val/ant/copy-{i:03}.png" for i in range(3)}
    assert (len(manifest.train), len(manifest.validation), len(manifest.test)) == (24, 6, 12)


def test_copies_in_another_class_are_left_out_as_well_and_counted(split_folder):
    copied(split_folder / "train" / "ant", into=split_folder / "train" / "bee", number=4)
    manifest = manifest_of(split_folder)
    assert shared(split_folder, manifest) == 0
    assert any("images stand in several classes" in note for note in manifest.notes)


def test_data_without_copies_says_nothing_of_them(folder):
    assert manifest_of(folder).notes == ()


@given(
    checksums=st.lists(st.integers(0, 6), min_size=4, max_size=30),
    own_test=st.booleans(),
    share=st.sampled_from([0.1, 0.5, 0.9]),
)
def test_whatever_is_equal_stands_in_one_split_and_nothing_is_lost_without_a_word(checksums, own_test, share):
    known_as = {f"i{number}": checksum for number, checksum in enumerate(checksums)}
    names = list(known_as)
    third = len(names) // 3
    pools = {"a": names[:third], "b": names[third : 2 * third]}, {"a": names[2 * third :], "b": []}
    splits, copies = split_up(*pools, Recipe(validation_share=share), checksums=known_as, own_test=own_test)
    by_split = {split: {i for ids in pool.values() for i in ids} for split, pool in splits.items()}
    values = {split: {known_as[i] for i in chosen} for split, chosen in by_split.items()}
    assert not values["train"] & values["validation"]
    assert not values["test"] & (values["train"] | values["validation"])
    assert set.union(*by_split.values()) | {name for name, _ in copies.left_out} == set(names)


@pytest.mark.parametrize("own_test", [True, False])
def test_without_checksums_all_are_different(own_test):
    splits, copies = split_up({"a": ["1", "2"]}, {"a": ["3"]}, Recipe(), checksums={}, own_test=own_test)
    assert splits == {"train": {"a": ["2"]}, "validation": {"a": ["1"]}, "test": {"a": ["3"]}}
    assert copies.left_out == copies.notes == ()
