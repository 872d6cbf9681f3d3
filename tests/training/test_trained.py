"""Weights from files: what they are is told before anything is read, and nothing is ever unpickled."""

import json
import os
import pickle
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from nas.errors import ConfigError
from nas.models.metaformer import build
from nas.space.architecture import Architecture, Stage
from nas.training.trained import folder_network, load_initial, load_network, own_network, read_weights, timm_network

TINY = Architecture(stages=(Stage(mixer="pool", depth=1, width=8),))


class Trap:
    """Leaves a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def trap(path):
    """A pickle at `path`, and what would be there if it were read."""
    sprung = path.with_name("sprung")
    torch.save({"state_dict": {"stem.conv.weight": torch.ones(1)}, "epoch": Trap(sprung)}, path)
    return sprung


def readers(tmp_path):
    """Every way by which weights of ours are read, each given a file's name."""
    (tmp_path / "tiny.json").write_text(TINY.model_dump_json())
    return {
        "read": lambda file: read_weights(file),
        "start": lambda file: load_initial(build(TINY, image_size=32, num_classes=3), str(file)),
        "own": lambda file: own_network(TINY, file, image_size=32),
        "teacher": lambda file: load_network(str(tmp_path / "tiny.json"), weights=str(file), image_size=32, num_classes=3),
    }


@pytest.mark.parametrize("reader", ["read", "start", "own", "teacher"])
@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.bin", "w.ckpt", "w.safetensors"])
def test_a_pickle_is_refused_with_the_way_to_convert_it_and_never_read(name, reader, tmp_path):
    sprung = trap(tmp_path / name)
    with pytest.raises(ConfigError, match=rf"{name}: must be a safetensors file of weights, but it is a pickle") as refusal:
        readers(tmp_path)[reader](tmp_path / name)
    assert "weights_only=True" in str(refusal.value) and str(refusal.value).count(": must") == 1
    assert not sprung.exists()


@pytest.mark.parametrize("written_by", ["export", "start"])
def test_a_pickle_in_a_folder_of_ours_is_refused_too(written_by, tmp_path):
    sprung = trap(tmp_path / "model.safetensors")
    images = {"input_size": [3, 32, 32], "mean": [0.5] * 3, "std": [0.5] * 3}
    config = {"metaformer": {"architecture": TINY.model_dump(mode="json")}, "pretrained_cfg": images}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"model\.safetensors: must be a safetensors file of weights, but it is a pickle"):
        if written_by == "export":
            folder_network(tmp_path)
        else:
            load_initial(build(TINY, image_size=32, num_classes=3), str(tmp_path))
    assert not sprung.exists()


@pytest.mark.parametrize(
    "content, cause, timms",
    [
        (b"", "it is empty. Copy or download it again", None),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is a pointer of git-lfs", None),
        (b"<!doctype html>", "it is a web page", None),
        (b"Entry not found", "it begins as no such file does", None),
        (b"\xff\0\0\0\0\0\0\0{", r"a whole safetensors file, but .*\. Copy it again", "weights of timm's resnet10t, but"),
    ],
)
def test_what_is_no_weights_is_one_clear_message(content, cause, timms, tmp_path):
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"w\.safetensors: must be .*{cause}"):
        read_weights(tmp_path / "w.safetensors")
    with pytest.raises(ConfigError, match=rf"w\.safetensors: must hold .*{timms or cause}"):
        timm_network("resnet10t", weights=str(tmp_path / "w.safetensors"), num_classes=3)


def test_a_folder_and_a_missing_file_are_no_weights(tmp_path):
    with pytest.raises(ConfigError, match=r"it is a folder\. Name the \.safetensors file in it"):
        read_weights(tmp_path)
    with pytest.raises(ConfigError, match=r"it does not exist\. Check the path"):
        load_initial(build(TINY, image_size=32, num_classes=3), str(tmp_path))
    with pytest.raises(ConfigError, match=f"{tmp_path} is no file"):
        timm_network("resnet10t", weights=str(tmp_path), num_classes=3)


def test_safetensors_are_read_whatever_they_are_called(tmp_path):
    net = build(TINY, image_size=32, num_classes=3)
    save_file(net.state_dict(), tmp_path / "w.pth")
    assert read_weights(tmp_path / "w.pth").keys() == net.state_dict().keys()


def test_timm_reads_plain_pickles_and_runs_no_code_of_others(tmp_path):
    state = timm.create_model("resnet10t", num_classes=3).state_dict()
    torch.save({"state_dict": state}, tmp_path / "good.pth")
    assert timm_network("resnet10t", weights=str(tmp_path / "good.pth"), num_classes=3).model.num_classes == 3
    traps = [tmp_path / "trap.pth", tmp_path / "legacy.bin"]
    sprung = trap(traps[0])
    traps[1].write_bytes(pickle.dumps(Trap(sprung), protocol=2))
    for path in traps:
        with pytest.raises(ConfigError, match=rf"{path.name}: must hold the weights of timm's resnet10t, but"):
            timm_network("resnet10t", weights=str(path), num_classes=3)
    assert not sprung.exists()


def test_timm_is_given_files_under_the_endings_that_it_goes_by(tmp_path):
    state = timm.create_model("resnet10t", num_classes=3).state_dict()
    torch.save(state, tmp_path / "pickle.safetensors")
    save_file(state, Path(tmp_path / "safe.pth"))
    for name, other in (("pickle.safetensors", "pickle.pth"), ("safe.pth", "safe.safetensors")):
        with pytest.raises(ConfigError, match=rf"{name}: must end as what it is.*Rename it to {other}"):
            timm_network("resnet10t", weights=str(tmp_path / name), num_classes=3)
