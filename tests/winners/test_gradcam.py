"""Heat maps are written for every image and every network, and what can't be mapped is said in one message."""

import sys

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn

from nas.cli import main as cli
from nas.data.draw import make_manifest
from nas.errors import ConfigError, NasError
from nas.models.metaformer import build
from nas.recipes.full import FullRecipe
from nas.retraining.train import retrain_network
from nas.space.architecture import Architecture, Stage
from nas.training.trained import Network
from nas.winners import gradcam as gradcam_module
from nas.winners.gradcam import (
    DPI,
    LINE_INCHES,
    PANEL_INCHES,
    as_map,
    caption,
    heat,
    load_checkpoint,
    split_targets,
    target_layer,
    write_maps,
)

pytest.importorskip("pytorch_grad_cam")
HYBRID = Architecture(
    stages=(
        Stage(mixer="conv", depth=1, width=8, kernel_size=3),
        Stage(mixer="attention", depth=1, width=16, head_dim=8, position_embedding=True),
    )
)
POOLING = Architecture(stages=(Stage(mixer="pool", depth=1, width=8), Stage(mixer="pool", depth=1, width=16)))


def picture(path, *, size=(40, 30)):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def network(architecture, *, size=32):
    torch.manual_seed(0)
    return Network(build(architecture, image_size=size, num_classes=3).eval(), size, class_names=("ant", "bee", "cat"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two finished retrainings."""
    root = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAS_CACHE", str(root / "cache"))
        recipe = FullRecipe(epochs=1, warmup_epochs=0.5, images_per_class=4, stem_stride=2)
        manifest = make_manifest(recipe, seed=0)
        for name, architecture in {"pooling": POOLING, "hybrid": HYBRID}.items():
            retrain_network(architecture, recipe, manifest, out=root / name)
    return [str(root / "pooling"), str(root / "hybrid")]


def exit_code(*arguments, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["nas", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return left.value.code


def test_each_image_becomes_one_row_of_panels(folders, tmp_path, monkeypatch, capsys):
    images = [picture(tmp_path / "cat.png"), picture(tmp_path / "dog.jpg")]
    assert exit_code("gradcam", *folders, *images, "--out", tmp_path / "maps", monkeypatch=monkeypatch) == 0
    files = [tmp_path / "maps" / "cat.png", tmp_path / "maps" / "dog.png"]
    assert capsys.readouterr().out.splitlines() == [str(file) for file in files]
    size = 3 * PANEL_INCHES * DPI, (PANEL_INCHES + 2 * LINE_INCHES) * DPI  # two lines: name, class
    assert [Image.open(file).size for file in files] == [pytest.approx(size, abs=1)] * 2


def test_two_images_of_one_name_become_two_files(folders, tmp_path):
    (tmp_path / "a").mkdir()
    images = [picture(tmp_path / "cat.png"), picture(tmp_path / "a" / "cat.png")]
    files = write_maps(folders[:1], images, tmp_path / "maps")
    assert [file.name for file in files] == ["cat.png", "cat-2.png"]


@pytest.mark.parametrize("architecture", [HYBRID, POOLING])
def test_a_map_has_the_size_of_the_input_and_a_peak(architecture):
    found = heat(network(architecture), Image.new("RGB", (50, 40), "red"), name="net")
    assert found.map.shape == (32, 32)
    assert found.map.min() >= 0
    assert found.class_name in ("ant", "bee", "cat")
    assert 1 / 3 <= found.probability <= 1


def test_where_the_last_map_is_a_point_the_one_before_is_shown_and_named():
    found = heat(network(POOLING, size=8), Image.new("RGB", (8, 8), "red"), name="net")
    assert (found.layer, found.is_last) == ("stages.0", False)
    assert caption("net", found)[2] == "(map of stages.0, the last is 1x1)"
    assert heat(network(POOLING), Image.new("RGB", (8, 8), "red"), name="net").layer == "stages.1"


def test_a_network_that_counts_one_corner_is_seen_to_look_there():
    class Corner(nn.Module):
        feature_info = ({"module": "last"},)

        def __init__(self):
            super().__init__()
            self.last = nn.Conv2d(3, 2, 4, stride=4, bias=False)
            nn.init.ones_(self.last.weight)

        def forward(self, x):
            return self.last(x)[:, :, 0, 0] * torch.tensor([1.0, 0.5])

    image = Image.new("RGB", (16, 16))
    image.paste("white", (0, 0, 4, 4))
    found = heat(Network(Corner(), 16, class_names=("corner", "other")), image, name="corner")
    assert found.class_name == "corner"
    assert np.unravel_index(found.map.argmax(), found.map.shape) <= (3, 3)
    assert found.map[12:, 12:].max() == 0


def test_every_layout_of_timm_becomes_a_map():
    vit = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, num_classes=3)
    assert target_layer(vit.eval(), torch.zeros(1, 3, 32, 32), name="vit") == "blocks.11.norm1"
    tokens = torch.arange(17.0).view(1, 17, 1)  # a class token, then 4x4 positions
    assert as_map(tokens, vit)[0, 0].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12], [13, 14, 15, 16]]
    channels_last = nn.Module()
    channels_last.output_fmt = "NHWC"
    assert as_map(torch.zeros(1, 4, 5, 6), channels_last).shape == (1, 6, 4, 5)
    assert as_map(torch.zeros(1, 6, 4, 5), nn.Module()).shape == (1, 6, 4, 5)


def test_images_and_checkpoints_are_told_apart_by_their_endings():
    checkpoints, images = split_targets(["exported/17", "cat.JPG", "runs/hybrid:3", "resnet18", "dog.png"])
    assert checkpoints == ["exported/17", "runs/hybrid:3", "resnet18"]
    assert [str(path) for path in images] == ["cat.JPG", "dog.png"]


def test_a_timm_model_without_weights_is_drawn_alike_each_time_and_said_to_be_random(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gradcam_module, "cached_weights", lambda name: None)
    one, two = (load_checkpoint("timm/resnet10t").model.state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    image = picture(tmp_path / "cat.png")
    out = ("--out", tmp_path / "maps", "--image-size", 64)
    assert exit_code("gradcam", "resnet10t", image, *out, monkeypatch=monkeypatch) == 0
    assert "its map is of random weights" in capsys.readouterr().out


def test_what_cannot_be_mapped_is_one_message_and_exit_code_2(folders, tmp_path, monkeypatch, capsys):
    good, broken, small = picture(tmp_path / "cat.png"), tmp_path / "broken.jpg", picture(tmp_path / "small.png", size=(7, 20))
    broken.write_bytes(good.read_bytes()[:100])
    fixed, free = folders[1], folders[0]
    for arguments, message in [
        ((free, tmp_path / "none.png"), "none.png: must be an image that can be read, but: No such file"),
        ((free, broken), "broken.jpg: must be an image that can be read"),
        ((free, small), "must have at least 8 px a side, but has 7x20"),
        ((free,), "at least one checkpoint and one image, but got 1 and 0"),
        ((good,), "at least one checkpoint and one image, but got 0 and 1"),
        ((tmp_path / "nothing", good), "a checkpoint must be a folder of"),
        ((tmp_path, good), "result.json"),
        ((fixed, good, "--image-size", 64), "fits 32x32 px only, but got 64x64 px"),
        ((free, good, "--image-size", 2), "at least 2x2 positions to show where, but there is none at 2 px"),
    ]:
        assert exit_code("gradcam", *arguments, "--out", tmp_path / "maps", monkeypatch=monkeypatch) == 2
        error = " ".join(capsys.readouterr().err.split())
        assert error.startswith("error: ") and message in error, error
    assert not list((tmp_path / "maps").glob("*.png"))


def test_without_the_library_the_way_to_it_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_grad_cam", None)
    with pytest.raises(NasError, match=r"pip install 'metaformer-nas\[gradcam\]'"):
        heat(network(POOLING), Image.new("RGB", (32, 32)), name="net")


def test_a_model_that_does_not_say_where_its_maps_are_is_refused():
    with pytest.raises(NasError, match="feature_info"):
        target_layer(nn.Linear(1, 1), torch.zeros(1, 1), name="linear")


def test_an_argument_of_no_kind_is_refused():
    with pytest.raises(ConfigError, match="but got exported/none"):
        load_checkpoint("exported/none")
