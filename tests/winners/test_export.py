"""What an export says of its images is what its network was judged by, whichever training it came from."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_dataset, create_transform

from nas.data.draw import make_manifest
from nas.errors import NasError
from nas.export.proof import write_samples
from nas.recipes.full import FullRecipe
from nas.retraining.folder import trained_folder
from nas.retraining.loader import seen_by_loader
from nas.retraining.train import retrain_network
from nas.space.architecture import Architecture, Stage
from nas.winners.export import export_trained
from nas.winners.lookup import seen_in_memory
from tests.images import class_folders

LOADED = {"workers": 0, "auto_augment": None, "test_crop": 0.9}


def timms(files, size, **settings):
    """Image files by timm's own data set and transform."""
    dataset = create_dataset("", root=str(files[0].parents[1]))
    dataset.transform = create_transform(size, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), **settings)
    return torch.stack([dataset[i][0] for i in range(len(dataset))])


@pytest.fixture
def network():
    """A convolution and an attention stage."""
    stages = (Stage(mixer="conv", depth=1, width=8, kernel_size=3), Stage(mixer="attention", depth=1, width=16, head_dim=8))
    return Architecture(stages=stages)


@pytest.mark.parametrize("size", [24, 32, 45])
def test_what_a_network_is_judged_by_is_what_timm_makes_of_files_of_every_kind(tmp_path, size):
    files = write_samples(tmp_path / "samples" / "all")
    ours = seen_in_memory(files, size)
    assert (ours - timms(files, size, interpolation="bilinear", crop_pct=1.0)).abs().max() < 1e-5
    recipe = FullRecipe(image_size=24, loader=LOADED)
    loaded = seen_by_loader(recipe, files, size)
    assert (loaded - timms(files, size, interpolation="bicubic", crop_pct=0.9)).abs().max() < 1e-5


@pytest.fixture(params=[None, LOADED], ids=["in memory", "loader"])
def retrained(request, network, tmp_path):
    """The folder of a short training."""
    data = class_folders(tmp_path / "images")
    recipe = FullRecipe(data=str(data), image_size=32, epochs=1, warmup_epochs=0, batch_size=8, loader=request.param)
    manifest = make_manifest(recipe, seed=0)
    retrain_network(network, recipe, manifest, out=tmp_path / "trained")
    return tmp_path / "trained"


@pytest.mark.slow
def test_a_retraining_is_exported_with_its_own_way_of_reading_files(retrained, tmp_path):
    trained = trained_folder(retrained)
    export_trained(trained, tmp_path / "out")  # which proves it from files
    settings = json.loads((tmp_path / "out" / "config.json").read_text())["pretrained_cfg"]
    expected = ("bilinear", 1.0) if trained.recipe.loader is None else ("bicubic", 0.9)
    assert (settings["interpolation"], settings["crop_pct"]) == expected


@pytest.mark.slow
def test_an_export_that_would_read_files_another_way_is_refused(retrained, tmp_path):
    trained = trained_folder(retrained)
    other = "bicubic" if trained.recipe.loader is None else "bilinear"
    with pytest.raises(NasError, match="timm makes other pixels of image files"):
        export_trained(trained._replace(interpolation=other), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("white", [None, 4095])
def test_the_card_says_how_images_of_sixteen_bits_are_read(network, tmp_path, white):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(10):
            Image.fromarray(rng.integers(0, 4096, (40, 40)).astype(np.uint16)).save(tmp_path / "images" / name / f"{i}.png")
    recipe = FullRecipe(data=str(tmp_path / "images"), image_size=32, epochs=1, warmup_epochs=0, batch_size=8, white=white)
    retrain_network(network, recipe, make_manifest(recipe, seed=0), out=tmp_path / "trained")
    export_trained(trained_folder(tmp_path / "trained"), tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    assert "20 images have 16 bits a channel" in text
    assert f"* 255 / {white or 65535}" in text
