"""A full training's images: read by a loader or in memory; which, how often, and what happens to broken ones."""

import io
import json
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from nas.data.decoding import AS_STORED
from nas.data.manifest import LISTED
from nas.errors import ConfigError, NasError
from nas.recipes.full import FullRecipe
from nas.retraining import loader as loaded_module
from nas.retraining.data import data_of, manifest_of
from nas.retraining.loader import Listed, Loaded, LoadedJudged, Unreadable, parts_of

CPU = torch.device("cpu")
RECIPE = FullRecipe(
    image_size=8, batch_size=8, epochs=2, crop_padding=0, crop_scale=(0.5, 1), flip=True, mixup=0.2, random_erasing=0.3,
    loader={"workers": 0, "test_crop": 1.0, "auto_augment": "rand-m9-mstd0.5-inc1"},
)  # fmt: skip


class Numbered:
    """A source whose image of an id is that number's grey; some can't be read."""

    def __init__(self, broken=()):
        self.broken = set(broken)

    def place(self, name):
        return name

    def read(self, name):
        if name in self.broken:
            raise OSError("truncated")
        return Image.new("RGB", (8, 8), 3 * (int(name),)), 0


def listed(number, tmp_path, broken=()):
    items = tuple((str(i), i % 3) for i in range(number))
    return Listed(Numbered(broken), items, broken=Unreadable(tmp_path / "unreadable.tsv"), rendering=AS_STORED)


PLAIN = RECIPE.model_copy(
    update={
        "mixup": 0, "random_erasing": 0, "flip": False, "crop_scale": (1, 1),
        "loader": RECIPE.loader.model_copy(update={"auto_augment": None, "color_jitter": None}),
    }
)  # fmt: skip


def greys(share):
    """Which images a share holds, by their grey."""
    mean, scale = loaded_module.MEAN[0], loaded_module.STD[0]
    return [round(float(255 * (image[0].mean() * scale + mean))) for batch in share.batches for image in batch.images]


def test_an_epoch_holds_each_image_at_most_once_in_whole_batches(tmp_path):
    loaded = Loaded(listed(30, tmp_path), PLAIN)
    assert (loaded.steps, loaded.num_images) == (3, 24)
    first, second = ([i for share in loaded.epoch(n, seed=0, device=CPU) for i in greys(share)] for n in (1, 2))
    assert len(first) == len(set(first)) == 24 and set(first) <= set(range(30))
    assert first != second and set(first) != set(second)


def test_the_processes_parts_of_an_epoch_are_disjoint(tmp_path, monkeypatch):
    monkeypatch.setattr(loaded_module.processes, "world", lambda: 2)
    found = []
    for rank in (0, 1):
        monkeypatch.setattr(loaded_module.processes, "rank", lambda rank=rank: rank)
        shares = list(Loaded(listed(30, tmp_path), PLAIN).epoch(1, seed=0, device=CPU))
        assert [(share.num_images, len(share.batches), len(share.batches[0].labels)) for share in shares] == 3 * [(8, 1, 4)]
        found.append({i for share in shares for i in greys(share)})
    assert len(found[0]) == len(found[1]) == 12 and not found[0] & found[1]


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_the_same_epoch_of_the_same_seed_draws_the_same_batches(tmp_path, workers):
    recipe = RECIPE.model_copy(update={"loader": RECIPE.loader.model_copy(update={"workers": workers})})
    images = Loaded(listed(20, tmp_path), recipe)

    def drawn(number, seed):
        return torch.cat([batch.images for share in images.epoch(number, seed=seed, device=CPU) for batch in share.batches])

    assert torch.equal(drawn(2, 0), drawn(2, 0))
    assert not torch.equal(drawn(1, 0), drawn(2, 0)) and not torch.equal(drawn(1, 0), drawn(1, 1))


def test_the_number_of_decoding_processes_changes_nothing(tmp_path):
    def drawn(workers):
        recipe = RECIPE.model_copy(update={"loader": RECIPE.loader.model_copy(update={"workers": workers})})
        shares = Loaded(listed(20, tmp_path), recipe).epoch(2, seed=3, device=CPU)
        return torch.cat([batch.images for share in shares for batch in share.batches])

    assert torch.equal(drawn(0), drawn(2))


def test_what_is_drawn_of_an_image_depends_on_seed_epoch_and_image_alone(tmp_path, monkeypatch):
    """One process and two see the same parts of the same images, changed by the same operations."""
    recipe = RECIPE.model_copy(update={"mixup": 0, "random_erasing": 0})
    listing = listed(16, tmp_path)

    def seen(epoch, seed):
        shares = Loaded(listing, recipe).epoch(epoch, seed=seed, device=CPU)
        return [image.flatten().tolist() for share in shares for batch in share.batches for image in batch.images]

    alone = seen(1, 0)
    assert sorted(alone) != sorted(seen(2, 0)) and sorted(alone) != sorted(seen(1, 1))
    monkeypatch.setattr(loaded_module.processes, "world", lambda: 2)
    together = []
    for rank in (0, 1):
        monkeypatch.setattr(loaded_module.processes, "rank", lambda rank=rank: rank)
        together += seen(1, 0)
    assert sorted(together) == sorted(alone)


@pytest.mark.parametrize(
    ("batch_size", "device_batch", "processes", "parts"),
    [(4096, 256, 8, 2), (4096, 256, 4, 4), (4096, 256, 1, 16), (1024, None, 8, 1), (12, 5, 1, 3), (8, 100, 1, 1)],
)
def test_the_effective_batch_is_the_recipes_on_any_number_of_devices(monkeypatch, batch_size, device_batch, processes, parts):
    monkeypatch.setattr(loaded_module.processes, "world", lambda: processes)
    found = parts_of(FullRecipe(batch_size=batch_size, device_batch=device_batch))
    assert found == parts
    assert batch_size / processes / found <= (device_batch or batch_size)


def test_a_batch_that_the_processes_cannot_share_is_refused(monkeypatch):
    monkeypatch.setattr(loaded_module.processes, "world", lambda: 3)
    with pytest.raises(ConfigError, match=r"batch_size: must be a multiple of the 3 processes.*but got 64. Take 63"):
        parts_of(FullRecipe(batch_size=64))


def test_more_in_a_batch_than_there_are_images_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"batch_size: must be at most the 5 training images, but got 8"):
        Loaded(listed(5, tmp_path), PLAIN)


def test_an_unreadable_image_is_noted_replaced_in_training_and_left_out_in_judging(tmp_path):
    recipe = PLAIN.model_copy(update={"unreadable_share": 0.5})
    images = listed(16, tmp_path, broken=("3", "7"))
    seen = [i for share in Loaded(images, recipe).epoch(1, seed=0, device=CPU) for i in greys(share)]
    assert len(seen) == 16 and not {3, 7} & set(seen)
    labels = torch.cat([labels for _, labels in LoadedJudged(images, recipe).chunks(CPU)])
    assert len(labels) == 14 and labels.min() == 0
    lines = (tmp_path / "unreadable.tsv").read_text().splitlines()
    assert {line.split("\t")[0] for line in lines} == {"3", "7"} and lines[0].endswith("truncated")


def test_too_many_unreadable_images_end_the_training(tmp_path):
    images = listed(16, tmp_path, broken=("3", "7"))
    with pytest.raises(ConfigError, match=r"at most 1.0% of the images may be unreadable .*but 2 of 16 are"):
        list(Loaded(images, PLAIN).epoch(1, seed=0, device=CPU))


def test_a_disk_that_is_gone_is_not_searched_for_ever(tmp_path):
    with pytest.raises(NasError, match="10 images in a row can't be read"):
        list(Loaded(listed(16, tmp_path, broken=map(str, range(16))), PLAIN).epoch(1, seed=0, device=CPU))


def test_a_loaders_manifest_lists_without_decoding_and_holds_images_out(split_folder):
    (split_folder / "train" / "ant" / "000.png").write_bytes(b"broken")
    manifest = manifest_of(RECIPE.model_copy(update={"data": str(split_folder), "validation_share": 0.2}), seed=0)
    assert (len(manifest.train), len(manifest.validation), len(manifest.test)) == (24, 6, 12)
    assert not {*manifest.train} & {*manifest.validation} and manifest.content == LISTED
    assert all(name.startswith("val/") for name, _ in manifest.test)


def test_a_recipe_that_holds_nothing_out_trains_on_all(split_folder, tmp_path):
    recipe = FullRecipe(data=str(split_folder), image_size=8, batch_size=8, crop_padding=0)
    manifest = manifest_of(recipe, seed=0)
    data = data_of(manifest, recipe, unreadable=tmp_path / "unreadable.tsv")
    assert (data.train.num_images, data.validation, data.test.num_images) == (30, None, 12)


def shards(root, *, numbers):
    """A webdataset of so many shards of six images for each split, its labels 0 to 2."""
    root.mkdir()
    info = {"splits": {}}
    for split, number in numbers.items():
        names = [f"{split}-{i}.tar" for i in range(number)]
        for s, name in enumerate(names):
            with tarfile.open(root / name, "w") as tar:
                for i in range(6):
                    picture = io.BytesIO()
                    Image.fromarray(np.full((8, 8, 3), 40 * (i % 3), np.uint8)).save(picture, "png")
                    for ending, content in (("png", picture.getvalue()), ("cls", str(i % 3).encode())):
                        member = tarfile.TarInfo(f"{s}_{i}.{ending}")
                        member.size = len(content)
                        tar.addfile(member, io.BytesIO(content))
        info["splits"][split] = {
            "name": split, "num_samples": 6 * number, "filenames": names, "shard_lengths": number * [6],
        }  # fmt: skip
    (root / "_info.json").write_text(json.dumps(info))


@pytest.fixture
def stream(tmp_path, monkeypatch):
    shards(tmp_path / "data", numbers={"train": 4, "validation": 2})
    monkeypatch.setenv("NAS_DATA", str(tmp_path / "data"))
    return PLAIN.model_copy(update={"data": "wds/mine", "classes": 3})


def test_a_stream_is_trained_on_and_judged(stream, tmp_path):
    manifest = manifest_of(stream, seed=0)
    assert (manifest.class_names, manifest.train) == (("0", "1", "2"), ())
    data = data_of(manifest, stream, unreadable=tmp_path / "unreadable.tsv")
    assert (data.train.steps, data.train.num_images, data.validation, data.test.num_images) == (3, 24, None, 12)
    shares = list(data.train.epoch(1, seed=0, device=CPU))
    assert [len(share.batches[0].labels) for share in shares] == [8, 8, 8]
    labels = torch.cat([labels for _, labels in data.test.chunks(CPU)])
    assert sorted(labels.tolist()) == 4 * [0] + 4 * [1] + 4 * [2]


def test_a_streams_labels_must_be_among_its_classes(stream, tmp_path):
    recipe = stream.model_copy(update={"classes": 2})
    data = data_of(manifest_of(recipe, seed=0), recipe, unreadable=tmp_path / "unreadable.tsv")
    with pytest.raises(ConfigError, match="classes: must be all of wds/mine, but it has label 2 and classes says 2"):
        list(data.train.epoch(1, seed=0, device=CPU))


def test_a_worker_without_a_shard_is_refused(stream, tmp_path):
    crowded = stream.model_copy(update={"loader": stream.loader.model_copy(update={"workers": 5})})
    with pytest.raises(ConfigError, match=r"loader.workers: each of them.* needs a shard of its own, but wds/mine has 4 for 5"):
        data_of(manifest_of(crowded, seed=0), crowded, unreadable=tmp_path / "unreadable.tsv")


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"classes": None}, "classes: must be their number"), ({"validation_share": 0.1}, "validation_share: must be 0"),
     ({"loader": None}, "loader: must be set"), ({"images_per_class": 3}, "images_per_class: must be left out")],
)  # fmt: skip
def test_what_a_stream_cannot_do_is_refused(stream, changes, message):
    with pytest.raises(ConfigError, match=message):
        manifest_of(stream.model_copy(update=changes), seed=0)


def test_a_stream_that_does_not_lie_there_is_one_message(stream, tmp_path, monkeypatch):
    monkeypatch.setenv("NAS_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match=r"data=wds/mine must lie under .*nowhere already"):
        data_of(manifest_of(stream, seed=0), stream, unreadable=tmp_path / "unreadable.tsv")


@pytest.mark.slow
def test_a_saved_hugging_face_data_set_is_read_through_timm(tmp_path):
    import datasets

    pictures = [{"bytes": _png(i), "path": None} for i in range(12)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["ant", "bee"])})
    for split in ("train", "validation"):
        rows = datasets.Dataset.from_dict({"image": pictures, "label": 6 * [0, 1]}, features=features)
        rows.to_parquet(str(tmp_path / "mine" / f"{split}.parquet"))
    recipe = PLAIN.model_copy(update={"data": f"hfds/{tmp_path / 'mine'}", "batch_size": 4})
    manifest = manifest_of(recipe, seed=0, root=tmp_path / "cache")
    assert (manifest.class_names, len(manifest.train), len(manifest.test)) == (("ant", "bee"), 12, 12)
    data = data_of(manifest, recipe, unreadable=tmp_path / "unreadable.tsv", root=tmp_path / "cache")
    assert sum(len(share.batches[0].labels) for share in data.train.epoch(1, seed=0, device=CPU)) == 12


def _png(shade):
    picture = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), 20 * shade, np.uint8)).save(picture, "png")
    return picture.getvalue()
