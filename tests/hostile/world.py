"""What a user may have on a disk, made in a second: a run, a calibration, a retraining, an export, images, files of YAML."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from nas.data.draw import make_manifest
from nas.data.manifest import MEAN, STD
from nas.export.directory import Description, drafted, write_export
from nas.models.metaformer import build
from nas.recipes.full import FullRecipe
from nas.retraining.folder import Result, RetrainingFolder, setup_of
from nas.run.folder import open_folder
from nas.run.settings.search import read_search
from nas.search.study import Study
from nas.space.architecture import Architecture, Stage
from tests.images import class_folders, picture
from tests.studies import finish_all

SPACE = """\
name: mine
space:
  image_size: 32
  num_classes: 10
  stem_kernel: 3
  stem_stride: 2
  all_stages: {depth: [1, 2], mlp_ratio: 2}
  stages:
    1: {mixer: [pool, identity], width: [8, 16]}
    2: {mixer: [conv, attention], width: [16, 32], head_dim: 16}
search: {trials: 4, sampler: random}
proxy: {data: digits, image_size: 32, images_per_class: 8, epochs: 2, warmup_epochs: 0.5, batch_size: 16}
resources: {workers: 1}
"""
RECIPE = "data: digits\nepochs: 2\nwarmup_epochs: 0.5\nbatch_size: 64\n"
NETWORK = Architecture(
    stem_kernel=3, stem_stride=2, stages=(Stage(mixer="pool", depth=1, width=8), Stage(mixer="conv", depth=1, width=16))
)
SIZE, CLASSES = 32, 10


def make_world(root: Path) -> Path:
    """A folder with one of everything that a verb reads."""
    root.mkdir(parents=True)
    (root / "space.yaml").write_text(SPACE)
    (root / "recipe.yaml").write_text(RECIPE)
    (root / "net.json").write_text(json.dumps(NETWORK.to_dict()))
    class_folders(root / "images", images=6)
    picture(root / "cat.png", size=(40, 40))
    _make_run(root)
    _make_retraining(root)
    _make_export(root)
    (root / "mine").mkdir()
    shutil.copy(root / "recipe.yaml", root / "mine" / "recipe.yaml")
    return root


def _make_run(root: Path) -> None:
    search = read_search(root / "space.yaml")
    manifest = make_manifest(search.proxy, seed=0)
    folder = open_folder(root / "run", search)
    study = Study(search, folder, manifest_hash=manifest.hash)
    finish_all(study)
    manifest.write(folder.manifest)
    best = max(study.records, key=lambda record: record.accuracy or 0)
    folder.weights(0).parent.mkdir()
    _write_weights(best.architecture, folder.weights(best.number))
    study.close()
    folder.calibration.mkdir()
    (folder.calibration / "calibration.json").write_text("{}")


def _write_weights(architecture: Architecture, path: Path) -> None:
    torch.manual_seed(0)
    save_file(build(architecture, image_size=SIZE, num_classes=CLASSES).state_dict(), path)


def _make_retraining(root: Path) -> None:
    recipe = FullRecipe(epochs=2, warmup_epochs=0.5)
    manifest = make_manifest(recipe, seed=0)
    setup = setup_of(NETWORK, recipe, manifest, 0)
    folder = RetrainingFolder(root / "trained", setup)
    folder.root.mkdir()
    folder.write_setup(NETWORK, recipe, manifest)
    _write_weights(NETWORK, folder.weights)
    counts = {"train_images": 10, "test_images": 5, "epochs": 2, "kept_epoch": 2, "processes": 1}
    measured = {"accuracy": 0.5, "top5": 0.9, "loss": 1.0, "seconds": 2.0, "device": "cpu", "versions": {"nas": "0"}}
    folder.write_result(Result(**counts, **measured, setup=setup))
    (folder.root / "origin.json").write_text(json.dumps({"run": "mine", "trial": 1}))


def _make_export(root: Path) -> None:
    torch.manual_seed(0)
    weights = build(NETWORK, image_size=SIZE, num_classes=CLASSES).state_dict()
    about = Description(tuple(map(str, range(CLASSES))), MEAN, STD, {"run": "mine", "trial": 1})
    (root / "exported").mkdir()
    write_export(drafted(NETWORK, weights, about, image_size=SIZE, num_classes=CLASSES), root / "exported")
