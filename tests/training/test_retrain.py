"""A full training survives interruptions, and sees the test split once."""

import json

import pytest
import torch
import yaml
from safetensors.torch import load_file

from nas.errors import NasError
from nas.models.metaformer import build
from nas.space.architecture import read_architecture
from nas.training import retrain as retrain_module
from nas.training.data import load, make_manifest
from nas.training.full_recipe import FullRecipe
from nas.training.loop import evaluate
from nas.training.retrain import Listener, retrain
from nas.training.retraining_folder import Result

RECIPE = FullRecipe(epochs=3, images_per_class=12, batch_size=32, warmup_epochs=0.5, drop_path=0.1)


@pytest.fixture
def manifest():
    return make_manifest(RECIPE, seed=0)


def interrupted(epoch):
    if epoch.epoch == 2:
        raise KeyboardInterrupt


def test_a_finished_training_leaves_everything_that_rebuilds_it(tiny, manifest, tmp_path):
    result = retrain(tiny, RECIPE, manifest, out=tmp_path)
    model = build(read_architecture(tmp_path / "architecture.json"), image_size=32, num_classes=10)
    model.load_state_dict(load_file(tmp_path / "model.safetensors"))
    model = model.to(memory_format=torch.channels_last)
    assert evaluate(model, load(manifest, "test", image_size=32), RECIPE).accuracy == result.accuracy
    assert FullRecipe(**yaml.safe_load((tmp_path / "recipe.yaml").read_text())) == RECIPE
    assert Result(**json.loads((tmp_path / "result.json").read_text())) == result
    assert [line.split(",")[0] for line in (tmp_path / "curve.csv").read_text().splitlines()] == ["epoch", "1", "2", "3"]
    assert (result.train_images, result.test_images, result.setup["manifest"]) == (120, len(manifest.test), manifest.hash)


def test_an_interrupted_training_goes_on_to_the_same_weights(tiny, manifest, tmp_path):
    whole = retrain(tiny, RECIPE, manifest, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        retrain(tiny, RECIPE, manifest, out=tmp_path / "cut", listener=Listener(epoch=interrupted))
    told = []
    cut = retrain(tiny, RECIPE, manifest, out=tmp_path / "cut", listener=Listener(epoch=lambda epoch: told.append(epoch.epoch)))
    assert told == [3]
    assert cut.model_dump(exclude={"seconds"}) == whole.model_dump(exclude={"seconds"})
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert len((tmp_path / "cut" / "curve.csv").read_text().splitlines()) == 4


def test_a_finished_training_is_read_back_and_not_done_again(tiny, manifest, tmp_path, monkeypatch):
    result = retrain(tiny, RECIPE, manifest, out=tmp_path)
    monkeypatch.setattr(retrain_module, "fit", lambda *_, **__: pytest.fail("trained again"))
    assert retrain(tiny, RECIPE, manifest, out=tmp_path) == result


def test_the_test_split_is_evaluated_once_and_only_after_the_last_epoch(tiny, manifest, tmp_path, monkeypatch):
    events = []

    def watched(*arguments, **options):
        events.append("test")
        return evaluate(*arguments, **options)

    monkeypatch.setattr(retrain_module, "evaluate", watched)
    retrain(tiny, RECIPE, manifest, out=tmp_path, listener=Listener(epoch=lambda epoch: events.append(epoch.epoch)))
    assert events == [1, 2, 3, "test"]


@pytest.mark.parametrize("finished", [True, False])
def test_another_setup_in_the_same_folder_is_refused_with_the_difference(tiny, manifest, tmp_path, finished):
    if finished:
        retrain(tiny, RECIPE, manifest, out=tmp_path)
    else:
        with pytest.raises(KeyboardInterrupt):
            retrain(tiny, RECIPE, manifest, out=tmp_path, listener=Listener(epoch=interrupted))
    with pytest.raises(NasError, match=r"recipe\.lr: 0\.001 there, 0\.1 here"):
        retrain(tiny, RECIPE.model_copy(update={"lr": 0.1}), manifest, out=tmp_path)
    with pytest.raises(NasError, match="seed: 0 there, 1 here"):
        retrain(tiny, RECIPE, manifest, out=tmp_path, seed=1)


def test_a_damaged_checkpoint_is_refused_by_name(tiny, manifest, tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(NasError, match=r"checkpoint\.pt"):
        retrain(tiny, RECIPE, manifest, out=tmp_path)


def test_a_training_that_diverges_is_an_error_with_a_way_out(tiny, manifest, tmp_path):
    wild = RECIPE.model_copy(update={"optimizer": "sgd", "lr": 1e30, "clip_grad": None})
    with pytest.raises(NasError, match=r"diverged: loss nan .*Lower lr"):
        retrain(tiny, wild, manifest, out=tmp_path)
    assert not (tmp_path / "result.json").exists()


def test_the_architecture_beside_the_weights_is_the_one_that_was_trained(tiny, manifest, tmp_path):
    retrain(tiny, RECIPE.model_copy(update={"stem_stride": 2}), manifest, out=tmp_path)
    beside = read_architecture(tmp_path / "architecture.json")
    assert beside.stem_stride == 2
    model = build(beside, image_size=RECIPE.image_size, num_classes=len(manifest.class_names))
    model.load_state_dict(load_file(tmp_path / "model.safetensors"))
