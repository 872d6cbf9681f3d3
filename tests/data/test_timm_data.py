"""timm's data sets by their names: numbered images and shards, drawn, decoded and trained on like any folder."""

import io
import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from nas.data import timm_data
from nas.data.decoding import decode
from nas.data.manifest import load_split
from nas.data.registry import open_source
from nas.errors import ConfigError
from nas.recipes.recipe import Proxy
from nas.training.proxy import train_proxy
from tests.images import class_folders, ids, manifest_of, refusal

SPLITS = {"train": 6, "validation": 3}  # images of each class
NAMES = ("ant", "bee", "cat")


def encoded(number, kind="png"):
    """A file of its own for each number."""
    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(content, kind)
    return content.getvalue()


@pytest.fixture
def shards(tmp_path, monkeypatch):
    """A function that writes data in webdataset's form, two shards a split, by webdataset itself; the folder is $NAS_DATA."""
    webdataset = pytest.importorskip("webdataset", reason="pip install webdataset")
    root = tmp_path / "shards"
    root.mkdir()
    monkeypatch.setenv("NAS_DATA", str(root))

    def write(samples, *, splits=SPLITS, alt_label=""):
        told = {}
        for split, number in splits.items():
            with webdataset.ShardWriter(f"{root}/{split}-%d.tar", maxcount=3 * number // 2, verbose=0) as writer:
                for i in range(3 * number):
                    writer.write({"__key__": f"{i:04}", **samples(split, i)})
            files = sorted(path.name for path in root.glob(f"{split}-*.tar"))
            told[split] = {"name": split, "num_samples": 3 * number, "filenames": files, "shard_lengths": [0] * len(files)}
            told[split]["alt_label"] = alt_label
        (root / "_info.json").write_text(json.dumps({"splits": told}))
        return root

    return write


def plain_sample(split, number):
    return {"png": encoded(number + 100 * (split == "train")), "cls": number % 3}


# torch/


def test_a_timm_data_set_that_is_not_there_gives_one_message(tmp_path, monkeypatch):
    monkeypatch.setenv("NAS_DATA", str(tmp_path))
    text = refusal("torch/cifar10")
    assert "nothing is downloaded" in text
    assert "NAS_DATA" in text


def test_timms_data_sets_are_read_by_their_names(split_folder, monkeypatch):
    monkeypatch.setenv("NAS_DATA", str(split_folder))
    (split_folder / "val").rename(split_folder / "validation")
    manifest = manifest_of("torch/image_folder", images_per_class=5)
    assert manifest.class_names == ("ant", "bee", "cat")
    assert (len(manifest.train), len(manifest.validation), len(manifest.test)) == (12, 3, 12)
    name, label = manifest.train[0]
    file = split_folder / "train" / "ant" / f"{int(name.removeprefix('train:')):03}.png"
    assert label == 0
    assert (load_split(manifest, "train", image_size=10).pixels[0] == decode(Image.open(file), 10)).all()


@pytest.mark.parametrize(
    ("data", "package"), [("torch/cifar10", "torchvision"), ("hfds/x", "datasets"), ("wds/x", "webdataset")]
)
def test_an_absent_package_is_named_with_the_way_to_install_it(monkeypatch, data, package):
    monkeypatch.setattr(timm_data, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=rf"package {package}, which is not installed.*pip install {package}"):
        open_source(data)


# wds/


def test_shards_are_drawn_from_and_decoded_by_their_images(shards):
    shards(plain_sample)
    manifest = manifest_of("wds/mine", images_per_class=5, image_size=12)
    assert manifest.class_names == ("0", "1", "2")
    assert (len(manifest.train), len(manifest.validation), len(manifest.test)) == (12, 3, 9)
    assert ids(manifest, "test") == {f"validation-{i // 4}.tar/{i:04}.png" for i in range(9)}
    pixels = load_split(manifest, "train", image_size=12).pixels
    for row, (name, label) in enumerate(manifest.train):
        number = int(name.split("/")[1].removesuffix(".png"))
        assert label == number % 3
        assert (pixels[row] == np.asarray(Image.open(io.BytesIO(encoded(100 + number))))).all()


def test_labels_may_stand_in_a_json_file_and_images_without_one_are_named(shards):
    def sample(split, number):
        label = {"png": encoded(number)}
        if number == 3:
            return {**label, "json": {"class": -1}}
        return label if number == 4 else {**label, "json": {"class": number % 3}}

    shards(sample, alt_label="class")
    source = open_source("wds/mine")
    assert {name: len(ids) for name, ids in source.train.items()} == {"0": 5, "1": 5, "2": 6}
    assert dict(source.ignored)["train-0.tar/0003.png"] == "its label is -1"
    assert dict(source.ignored)["train-0.tar/0004.png"] == "no .json file beside the image"


def test_a_label_without_an_image_or_that_is_no_number_is_named(shards):
    def sample(split, number):
        return {"cls": 0} if number == 3 else {"png": encoded(number), "cls": "x" if number == 4 else number % 3}

    shards(sample)
    ignored = dict(open_source("wds/mine").ignored)
    assert ignored["train-0.tar/0003.*"] == "no image beside its label"
    assert ignored["train-0.tar/0004.png"] == "no label in its .cls file"


def test_a_broken_image_in_a_shard_is_counted_and_named(shards):
    shards(
        lambda split, number: {
            "png": b"broken" if (split, number) == ("train", 2) else plain_sample(split, number)["png"],
            "cls": number % 3,
        }
    )
    assert "1 of 27 are: train-0.tar/0002.png: no kind of image" in refusal("wds/mine")
    assert [name for name, _ in manifest_of("wds/mine", unreadable_share=0.1).skipped] == ["train-0.tar/0002.png"]


def test_a_shard_that_is_gone_or_cut_short_is_refused_by_name(shards):
    root = shards(plain_sample)
    whole = (root / "train-1.tar").read_bytes()
    (root / "train-1.tar").write_bytes(whole[:3000])
    assert "train-1.tar: must be a whole tar" in refusal("wds/mine")
    (root / "train-1.tar").unlink()
    assert "train-1.tar: must be a whole tar, plain or packed by gzip, bzip2 or xz, but: No such file" in refusal("wds/mine")


def test_shards_without_a_list_of_them_are_one_message(shards):
    (shards(plain_sample) / "_info.json").unlink()
    assert "its train split can't be opened: split train not found in info" in refusal("wds/mine")


def test_the_test_images_may_stand_in_a_split_of_another_name(shards):
    shards(plain_sample, splits={"train": 6, "test": 4})
    assert len(manifest_of("wds/mine").test) == 12


# hfds/


@pytest.fixture
def parquet(tmp_path, monkeypatch):
    """A data set of Hugging Face's in parquet files, and $NAS_DATA for what is made of it."""
    datasets = pytest.importorskip("datasets", reason="pip install datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(NAMES))})
    for split, number in SPLITS.items():
        start = 100 * (split == "train")
        pictures = [{"bytes": encoded(start + i), "path": None} for i in range(3 * number)]
        rows = datasets.Dataset.from_dict({"image": pictures, "label": number * [0, 1, 2]}, features=features)
        rows.to_parquet(str(tmp_path / "mine" / f"{split}.parquet"))
    monkeypatch.setenv("NAS_DATA", str(tmp_path / "home"))
    return f"hfds/{tmp_path / 'mine'}"


@pytest.mark.slow
def test_a_hugging_face_data_set_is_drawn_from_and_decoded_by_its_images(parquet):
    manifest = manifest_of(parquet, images_per_class=5, image_size=12)
    assert manifest.class_names == NAMES
    assert Counter(label for _, label in manifest.train) == {0: 4, 1: 4, 2: 4}
    assert ids(manifest, "test") == {f"test:{i}" for i in range(9)}
    name, label = manifest.train[0]
    number = int(name.removeprefix("train:"))
    assert label == number % 3
    right = np.asarray(Image.open(io.BytesIO(encoded(100 + number))))
    assert (load_split(manifest, "train", image_size=12).pixels[0] == right).all()


@pytest.mark.slow
def test_an_image_folder_of_hugging_faces_is_read_too(tmp_path, monkeypatch):
    pytest.importorskip("datasets", reason="pip install datasets")
    monkeypatch.setenv("NAS_DATA", str(tmp_path / "home"))
    class_folders(tmp_path / "mine" / "train", images=5)
    class_folders(tmp_path / "mine" / "test", images=2)
    manifest = manifest_of(f"hfds/{tmp_path / 'mine'}", keep_copies=True)
    assert (manifest.class_names, len(manifest.test)) == (NAMES, 6)


@pytest.mark.slow
def test_a_hugging_face_data_set_that_is_not_there_is_not_asked_for_on_the_network(tmp_path, monkeypatch):
    pytest.importorskip("datasets", reason="pip install datasets")
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("asked the network"))
    monkeypatch.setenv("NAS_DATA", str(tmp_path / "home"))
    text = refusal("hfds/nobody/has-this-data-set")
    assert "nothing is downloaded" in text
    assert "NAS_DATA" in text
    assert before == constants.HF_HUB_OFFLINE


# From the name to an accuracy


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["hfds", "wds"])
def test_a_proxy_trains_on_them(kind, request, tiny):
    if kind == "hfds":
        data = request.getfixturevalue("parquet")
    else:
        request.getfixturevalue("shards")(plain_sample)
        data = "wds/mine"
    recipe = Proxy(data=data, image_size=32, epochs=2, batch_size=8, warmup_epochs=0.5)
    manifest = manifest_of(data, image_size=32)
    outcome = train_proxy(tiny, recipe, manifest, seed=0)
    assert outcome.cause is None
    assert [epoch.epoch for epoch in outcome.curve] == [1, 2]
    assert outcome.accuracy is not None
