"""Uploads, against a hub that keeps what it is sent in a folder."""

import json
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import timm
import torch
from huggingface_hub.utils import filter_repo_objects
from safetensors.torch import load_file
from timm.models import _hub as timm_hub

from nas.errors import ConfigError, NasError
from nas.export import hub as module
from nas.export.directory import Description, drafted, write_export
from nas.export.hub import check_hub, push_directory
from nas.export.proof import proof_logits
from nas.models.metaformer import build
from nas.space.architecture import Architecture, Stage
from nas.space.reference import from_timm

ABOUT = Description(class_names=tuple("abcd"), mean=(0.5,) * 3, std=(0.2,) * 3, provenance={"run": "hybrid"}, license="mit")


def directory(architecture, path):
    torch.manual_seed(0)
    state = build(architecture, image_size=32, num_classes=4).state_dict()
    prepared = drafted(architecture, state, ABOUT, image_size=32, num_classes=4)
    path.mkdir()
    write_export(prepared, path)
    return prepared


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The hub's own client, its three calls answered from a folder."""
    kept = SimpleNamespace(root=tmp_path / "hub", private=None)
    kept.root.mkdir()

    class Api:
        def __init__(self, **_):
            pass

        def create_repo(self, repo_id, *, private, exist_ok):
            kept.private = private
            return SimpleNamespace(repo_id=repo_id)

        def file_exists(self, *, repo_id, filename, revision):
            return (kept.root / repo_id / filename).exists()

        def upload_folder(self, *, repo_id, folder_path, commit_message, allow_patterns=None, revision=None, create_pr=None):
            (kept.root / repo_id).mkdir(parents=True, exist_ok=True)
            for name in filter_repo_objects(os.listdir(folder_path), allow_patterns=allow_patterns):
                shutil.copy(Path(folder_path) / name, kept.root / repo_id)

    for place in (timm_hub, module):
        monkeypatch.setattr(place, "HfApi", Api)
    return kept


@pytest.mark.parametrize(
    "architecture",
    [
        pytest.param(from_timm("poolformerv2_s12"), marks=pytest.mark.slow),
        Architecture(stages=[Stage(mixer=m, depth=1, width=32) for m in ("dwconv", "pool")]),
    ],
)
def test_what_lies_on_the_hub_afterwards_is_the_export(architecture, tmp_path, hub):
    prepared = directory(architecture, tmp_path / "found")
    (tmp_path / "found" / "notes.txt").write_text("mine")
    assert push_directory(tmp_path / "found", "me/mine", private=True) == "https://huggingface.co/me/mine"
    there = hub.root / "me" / "mine"
    assert sorted(f.name for f in there.iterdir()) == sorted([*prepared.texts, "model.safetensors"])
    assert hub.private and (there / "README.md").read_text() == prepared.texts["README.md"]
    assert json.loads((there / "config.json").read_text()) == json.loads(prepared.texts["config.json"])
    assert load_file(there / "model.safetensors").keys() == prepared.model.state_dict().keys()
    again = timm.create_model(f"local-dir:{there}", pretrained=True).eval()
    assert torch.equal(proof_logits(again, image_size=32), prepared.logits)


def test_a_hub_that_cannot_be_reached_is_one_message_and_leaves_the_export(tmp_path, hub, monkeypatch):
    def unreachable(*_, **__):
        raise ConnectionError("Name or service\nnot known")

    directory(Architecture(stages=[Stage(mixer="pool", depth=1, width=16)]), tmp_path / "found")
    before = sorted(f.name for f in (tmp_path / "found").iterdir())
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(module.HfApi, "upload_folder", unreachable)
    with pytest.raises(NasError, match=r"upload failed: Name or service not known\. The export is complete in .*found;"):
        push_directory(tmp_path / "found", "me/mine", private=False)
    assert sorted(f.name for f in (tmp_path / "found").iterdir()) == before


@pytest.mark.parametrize("name", ["mine", "a/b/c", "me/", "me/my model", "-/-"])
def test_a_name_that_is_no_repository_is_refused(name):
    with pytest.raises(ConfigError, match="--push must be ORG/NAME"):
        check_hub(name)


def test_without_a_token_nothing_begins(monkeypatch):
    monkeypatch.setattr(module, "get_token", lambda: None)
    with pytest.raises(NasError, match="needs a token of the Hugging Face hub, but this machine has none"):
        check_hub("me/mine")
    monkeypatch.setattr(module, "get_token", lambda: "hf_x")
    check_hub("me/mine")
