"""Splits never overlap, broken images are counted and named, and every image is decoded once."""

import os
import pickle
import resource
import shutil
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from nas.data import inspection
from nas.data import manifest as data
from nas.data.decoding import decode
from nas.data.draw import make_manifest
from nas.data.manifest import MEAN, STD, Manifest, load_split, prepare_images, read_manifest
from nas.errors import ConfigError, NasError
from nas.recipes.recipe import Recipe
from tests.images import class_folders, ids, manifest_of, picture, refusal


@pytest.fixture
def no_decoding(monkeypatch):
    """A block in which every decoding fails, entered after `after` gave what the block works on."""

    @contextmanager
    def forbidden(after=lambda: None):
        found = after()
        with monkeypatch.context() as patch:
            for module in (data, inspection):
                patch.setattr(module, "decoded", lambda *_, **__: pytest.fail("decoded again"))
            yield found

    return forbidden


@pytest.fixture
def small_disk():
    """Lets no file grow beyond so many bytes: a full disk that needs no disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda num_bytes: resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def flip_last_byte(path):
    """Damages a file as a failing disk would, its time untouched; what it held."""
    right, stat = path.read_bytes(), path.stat()
    path.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    return right


# What is drawn


def test_digits_are_split_into_three_disjoint_parts_that_make_up_all_of_them():
    manifest = make_manifest(Recipe(), seed=0)
    parts = [ids(manifest, split) for split in ("train", "validation", "test")]
    assert len(set.union(*parts)) == sum(map(len, parts)) == 1797


def test_every_class_has_its_share_in_every_split():
    manifest = make_manifest(Recipe(images_per_class=100, validation_share=0.2), seed=0)
    assert set(Counter(label for _, label in manifest.train).values()) == {80}
    assert set(Counter(label for _, label in manifest.validation).values()) == {20}
    assert set(Counter(label for _, label in manifest.test)) == set(range(10))


@pytest.mark.parametrize("values", [{}, {"images_per_class": 6}, {"classes": 2}])
def test_no_seed_and_no_subset_ever_trains_on_a_test_image_of_another(folder, values):
    tests = ids(manifest_of(folder), "test")
    for seed in range(5):
        manifest = manifest_of(folder, seed=seed, **values)
        assert not ids(manifest, "train", "validation") & tests
        assert ids(manifest, "test") <= tests


def test_search_images_come_from_train_alone_where_there_is_a_val_folder(split_folder):
    manifest = manifest_of(split_folder)
    assert all(name.startswith("train/") for name in ids(manifest, "train", "validation"))
    assert ids(manifest, "test") == {f"val/{c}/{i:03}.png" for c in ("ant", "bee", "cat") for i in range(4)}


def test_labels_follow_the_class_names(split_folder):
    manifest = manifest_of(split_folder)
    for split in ("train", "validation", "test"):
        assert all(name.split("/")[1] == manifest.class_names[label] for name, label in getattr(manifest, split))


def test_another_seed_draws_other_images_and_the_same_seed_the_same(folder):
    first, again, other = (manifest_of(folder, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first.hash == again.hash
    assert first.train != other.train
    assert first.hash != other.hash


def test_a_subset_of_classes_is_spread_over_all_of_them(tmp_path):
    names = [f"c{i}" for i in range(9)]
    manifest = manifest_of(class_folders(tmp_path / "images", classes=names, images=4), classes=3)
    assert manifest.class_names == ("c0", "c4", "c8")


def test_listed_classes_are_taken_as_if_they_were_the_whole_data_set(tmp_path):
    all_of_them = class_folders(tmp_path / "all", classes=("bee", "ant", "cat", "dog"))
    manifest = manifest_of(all_of_them, classes=("dog", "bee"))
    for name in ("ant", "cat"):
        shutil.rmtree(all_of_them / name)
    assert manifest.class_names == ("bee", "dog")
    assert {label for i, label in manifest.train if i.startswith("dog/")} == {1}
    assert manifest.hash == manifest_of(all_of_them).hash


def test_the_largest_class_of_a_million_images_is_found_in_seconds(folder):
    items = tuple((str(i), i % 20_000 if i % 4 else 0) for i in range(400_000))
    names = tuple(map(str, range(20_000)))
    manifest = manifest_of(folder).model_copy(update={"validation": items, "class_names": names})
    began = time.monotonic()
    assert "25.0 % of the validation images are of one class, 0: always" in manifest.remarks[0]
    assert time.monotonic() - began < 5


# What identifies it


def test_the_hash_forgets_where_the_folder_lies_but_not_what_it_holds(tmp_path):
    first = manifest_of(class_folders(tmp_path / "a"))
    moved = manifest_of(class_folders(tmp_path / "b"))
    assert first.hash == moved.hash
    picture(tmp_path / "b" / "ant" / "000.png", seed=99)
    assert manifest_of(tmp_path / "b").hash != first.hash


def test_the_hash_knows_the_labels(folder):
    manifest = manifest_of(folder)
    swapped = manifest.model_copy(update={"train": tuple((i, 2 - label) for i, label in manifest.train)})
    assert Manifest(**swapped.model_dump()).hash != manifest.hash


def test_a_manifest_survives_its_file(folder, tmp_path):
    manifest = manifest_of(folder)
    manifest.write(tmp_path / "manifest.json")
    assert read_manifest(tmp_path / "manifest.json") == manifest
    assert read_manifest(tmp_path / "manifest.json").hash == manifest.hash


def test_a_damaged_manifest_is_refused_by_name(tmp_path):
    (tmp_path / "manifest.json").write_text('{"data": "digits", ')
    with pytest.raises(ConfigError, match=r"manifest\.json"):
        read_manifest(tmp_path / "manifest.json")


# What is refused


def test_a_single_class_is_refused(tmp_path):
    assert "at least 2 classes" in refusal(class_folders(tmp_path / "images", classes=["ant"]))


def test_more_classes_than_there_are_is_refused(folder):
    assert "at least 4 classes, but has 3" in refusal(folder, classes=4)


def test_a_class_without_an_image_is_named(folder):
    (folder / "dog").mkdir()
    assert "'dog' has 0" in refusal(folder)


def test_fewer_images_than_asked_for_names_the_class(folder):
    for i in range(3):
        (folder / "bee" / f"{i:03}.png").unlink()
    text = refusal(folder, images_per_class=8)
    assert "at least 8" in text
    assert "'bee' has 6" in text  # seven are left, one of which is set aside for the test


@pytest.mark.parametrize("values", [{}, {"classes": 2}, {"classes": ("ant", "dog", "elk")}])
def test_classes_that_miss_from_one_split_are_named_with_the_split(split_folder, values):
    class_folders(split_folder / "train", classes=["dog"])
    class_folders(split_folder / "val", classes=["elk"])
    assert "missing are 'elk' from the training split and 'dog' from the test split" in refusal(split_folder, **values)


def test_a_class_that_misses_from_one_split_is_no_matter_where_others_are_listed(split_folder):
    class_folders(split_folder / "train", classes=["dog"])
    assert manifest_of(split_folder, classes=("cat", "ant")).class_names == ("ant", "cat")


def test_listed_classes_that_do_not_exist_are_named_with_the_nearest(folder):
    text = refusal(folder, classes=("ant", "bees", "dog"))
    assert "unknown class 'bees'; did you mean bee?" in text
    assert text.endswith("Known: ant, bee, cat. Unknown as well: 'dog'.")


def test_an_empty_class_in_the_test_split_is_named(split_folder):
    for path in (split_folder / "val" / "cat").iterdir():
        path.unlink()
    assert "'cat'" in refusal(split_folder)


# Pixels


def test_a_manifest_decodes_once_for_itself_and_for_the_cache(folder, no_decoding):
    with no_decoding(after=lambda: manifest_of(folder, image_size=8)) as manifest:
        for split in ("train", "validation", "test"):
            assert len(load_split(manifest, split, image_size=8).pixels) == len(getattr(manifest, split))


def test_another_image_size_and_a_changed_image_are_decoded_anew(folder):
    manifest = manifest_of(folder, image_size=8)
    assert load_split(manifest, "train", image_size=10).pixels.shape[1] == 10
    name = manifest.train[0][0]
    picture(folder / name, seed=99)
    changed = manifest_of(folder, image_size=8)
    assert (load_split(changed, "train", image_size=8).pixels[0] == decode(Image.open(folder / name), 8)).all()
    assert (load_split(manifest, "train", image_size=8).pixels[0] != decode(Image.open(folder / name), 8)).any()


def test_an_image_that_vanished_after_the_manifest_was_made_is_named(folder):
    manifest = manifest_of(folder)
    (folder / manifest.train[0][0]).unlink()
    with pytest.raises(NasError, match=manifest.train[0][0]):
        load_split(manifest, "train", image_size=8)


def test_a_failed_build_leaves_nothing_behind(folder, own_cache):
    manifest = manifest_of(folder, image_size=10)
    before = set(own_cache.iterdir())
    (folder / manifest.train[0][0]).unlink()
    with pytest.raises(NasError):
        load_split(manifest, "train", image_size=8)
    assert {path.name for path in set(own_cache.iterdir()) - before} == {f".{manifest.hash}-train-8-scaled.npy.lock"}


def test_a_folder_may_have_moved_since_the_manifest_was_made(folder, tmp_path):
    manifest = manifest_of(folder)
    folder.rename(tmp_path / "elsewhere")
    assert len(load_split(manifest, "test", image_size=8, root=tmp_path / "elsewhere").labels) == len(manifest.test)


def test_a_cache_folder_that_cannot_be_written_gives_one_message(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(NasError, match="must be writable"):
        manifest_of(folder)


def test_a_cache_folder_that_moved_is_used_where_it_lies_now(folder, own_cache, tmp_path, monkeypatch, no_decoding):
    with no_decoding(after=lambda: manifest_of(folder, image_size=8)) as manifest:
        shutil.copytree(own_cache, tmp_path / "moved", copy_function=shutil.copyfile)  # its files are as new
        monkeypatch.setenv("NAS_CACHE", str(tmp_path / "moved"))
        prepare_images(manifest, image_size=8)


def test_a_search_finds_a_flipped_byte_before_its_trials_do(folder, own_cache):
    manifest = manifest_of(folder, image_size=8)
    path = own_cache / f"{manifest.hash}-train-8-scaled.npy"
    right = flip_last_byte(path)
    prepare_images(manifest, image_size=8)
    assert path.read_bytes() == right


def test_another_manifest_of_the_same_images_finds_a_flipped_byte_as_well(folder, own_cache):
    manifest = manifest_of(folder, image_size=8)
    path = own_cache / f"{manifest.hash}-test-8-middle.npy"
    right = flip_last_byte(path)
    assert manifest_of(folder, image_size=8) == manifest
    assert path.read_bytes() == right


def test_a_search_leaves_the_test_images_of_another_size_alone(folder, own_cache):
    manifest = manifest_of(folder, image_size=8)
    prepare_images(manifest, image_size=10)
    assert {path.name for path in own_cache.glob("*-10-*.npy")} == {
        f"{manifest.hash}-{split}-10-{way}.npy" for split, way in (("train", "scaled"), ("validation", "middle"))
    }


def test_too_small_a_disk_is_refused_before_anything_is_decoded(folder, monkeypatch, no_decoding):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**4))
    with no_decoding(), pytest.raises(NasError, match=r"needs 18\.0 kB, but only 10\.0 kB are free"):
        manifest_of(folder, image_size=10)


def test_a_disk_that_fills_while_images_come_in_gives_one_message_and_leaves_nothing(folder, own_cache, small_disk):
    small_disk(5_000)
    with pytest.raises(NasError, match=r"cache: must be writable, but: File too large\. Free the disk or choose another"):
        manifest_of(folder, image_size=16)
    assert list(own_cache.iterdir()) == []


def test_a_disk_that_fills_while_a_split_is_written_leaves_the_others_whole(folder, own_cache, small_disk, no_decoding):
    manifest = manifest_of(folder, image_size=8)
    small_disk(5_000)
    with pytest.raises(NasError, match="File too large"):
        load_split(manifest, "train", image_size=16)
    assert not list(own_cache.glob("[!.]*-16.*"))
    assert not list(own_cache.glob(".*-16-middle.npy.[0-9]*"))
    with no_decoding():
        load_split(manifest, "train", image_size=8)


def test_progress_is_told_from_nothing_to_all_images(folder):
    told = []
    make_manifest(Recipe(data=str(folder)), seed=0, on_decoded=lambda *state: told.append(state))
    assert told == [(i, 30, "images") for i in range(31)]


def test_normalisation_is_what_timm_expects():
    assert (MEAN, STD) == (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)


# Images that changed under an old manifest


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_images_that_changed_are_refused_by_name_where_they_are_decoded_again(folder, own_cache, split):
    manifest = manifest_of(folder, image_size=8)
    name, _ = getattr(manifest, split)[0]
    picture(folder / name, seed=9999)
    load_split(manifest, split, image_size=8)  # as it was decoded then
    shutil.rmtree(own_cache)
    with pytest.raises(NasError, match=rf"{name} of .* has other contents than when manifest {manifest.hash} was made"):
        load_split(manifest, split, image_size=8)


def test_a_search_refuses_changed_images_before_any_trial(folder, own_cache, tmp_path):
    manifest = manifest_of(folder, image_size=8)
    manifest.write(tmp_path / "manifest.json")
    shutil.rmtree(own_cache)
    name, _ = manifest.validation[-1]
    picture(folder / name, seed=9999)
    with pytest.raises(NasError, match="has other contents"):
        prepare_images(read_manifest(tmp_path / "manifest.json"), image_size=8)


def test_a_manifest_of_before_checksums_is_read_and_decoded(folder, own_cache):
    manifest = manifest_of(folder, image_size=8)
    old = Manifest.model_validate({k: v for k, v in manifest.model_dump().items() if k not in ("checksums", "notes", "bits")})
    assert old.hash == manifest.hash
    shutil.rmtree(own_cache)
    assert len(load_split(old, "train", image_size=8).pixels) == len(old.train)


# What workers are sent


def test_a_worker_needs_no_names_of_images_that_are_decoded_already(folder, tmp_path, no_decoding):
    with no_decoding(after=lambda: manifest_of(folder, image_size=8)) as manifest:
        sent = pickle.loads(pickle.dumps(manifest.in_file(tmp_path / "never_written.json")))
        for split in ("train", "validation", "test"):
            ours, theirs = (load_split(each, split, image_size=8) for each in (manifest, sent))
            assert (ours.pixels == theirs.pixels).all() and ours.labels.tolist() == theirs.labels.tolist()


def test_a_worker_that_must_decode_reads_the_manifest_s_file(folder, tmp_path):
    manifest = manifest_of(folder, image_size=8)
    manifest.write(tmp_path / "manifest.json")
    sent = manifest.in_file(tmp_path / "manifest.json")
    assert (load_split(sent, "train", image_size=9).pixels == load_split(manifest, "train", image_size=9).pixels).all()
    manifest.model_copy(update={"content": "another"}).write(tmp_path / "manifest.json")
    with pytest.raises(NasError, match=r"manifest\.json: must be the manifest that the run began with"):
        load_split(sent, "train", image_size=10)


def test_a_worker_is_sent_two_bytes_an_image():
    names = tuple(f"n{i:08d}" for i in range(1000))

    def bytes_sent(number):
        train = tuple((f"train/{names[i % 1000]}/{i}.JPEG", i % 1000) for i in range(number))
        whole = Manifest(data="images", class_names=names, train=train, validation=(), test=(), content="0", seed=0)
        return len(pickle.dumps(whole.in_file(Path("manifest.json"))))

    assert bytes_sent(20_000) - bytes_sent(10_000) == pytest.approx(20_000, abs=100)
