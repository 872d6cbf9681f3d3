"""A full training survives interruptions, and sees the test split once."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from nas.data.draw import make_manifest
from nas.data.manifest import load_split
from nas.errors import ConfigError, NasError
from nas.models.metaformer import build
from nas.recipes.full import FullRecipe, Loader
from nas.retraining import train as retrain_module
from nas.retraining.data import manifest_of
from nas.retraining.folder import Result
from nas.retraining.train import SILENT, Listener, retrain_network
from nas.space.architecture import Architecture, Stage, read_architecture
from nas.training.checkpoints import read_checkpoint, write_checkpoint
from nas.training.evaluation import evaluate
from nas.training.trained import load_initial
from tests.processes import in_processes, started_by

ROOT = Path(__file__).parents[2]

RECIPE = FullRecipe(epochs=3, images_per_class=12, batch_size=32, warmup_epochs=0.5, drop_path=0.1)


@pytest.fixture
def manifest():
    return make_manifest(RECIPE, seed=0)


def interrupted(epoch):
    if epoch.epoch == 2:
        raise KeyboardInterrupt


def test_a_finished_training_leaves_everything_that_rebuilds_it(tiny, manifest, tmp_path):
    result = retrain_network(tiny, RECIPE, manifest, out=tmp_path)
    model = build(read_architecture(tmp_path / "architecture.json"), image_size=32, num_classes=10)
    model.load_state_dict(load_file(tmp_path / "model.safetensors"))
    model = model.to(memory_format=torch.channels_last)
    assert evaluate(model, load_split(manifest, "test", image_size=32), RECIPE).accuracy == result.accuracy
    assert FullRecipe(**yaml.safe_load((tmp_path / "recipe.yaml").read_text())) == RECIPE
    assert Result(**json.loads((tmp_path / "result.json").read_text())) == result
    assert [line.split(",")[0] for line in (tmp_path / "curve.csv").read_text().splitlines()] == ["epoch", "1", "2", "3"]
    assert (result.train_images, result.test_images, result.setup["manifest"]) == (120, len(manifest.test), manifest.hash)


def test_an_interrupted_training_goes_on_to_the_same_weights(tiny, manifest, tmp_path):
    whole = retrain_network(tiny, RECIPE, manifest, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        retrain_network(tiny, RECIPE, manifest, out=tmp_path / "cut", listener=Listener(on_epoch=interrupted))
    told = []
    cut = retrain_network(
        tiny, RECIPE, manifest, out=tmp_path / "cut", listener=Listener(on_epoch=lambda epoch: told.append(epoch.epoch))
    )
    assert told == [3]
    assert cut.model_dump(exclude={"seconds"}) == whole.model_dump(exclude={"seconds"})
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert len((tmp_path / "cut" / "curve.csv").read_text().splitlines()) == 4


def test_a_finished_training_is_read_back_and_not_done_again(tiny, manifest, tmp_path, monkeypatch):
    result = retrain_network(tiny, RECIPE, manifest, out=tmp_path)
    monkeypatch.setattr(retrain_module, "fit", lambda *_, **__: pytest.fail("trained again"))
    assert retrain_network(tiny, RECIPE, manifest, out=tmp_path) == result


def test_the_test_split_is_evaluated_once_and_only_after_the_last_epoch(tiny, manifest, tmp_path, monkeypatch):
    events = []

    def watched(*arguments, **options):
        events.append("test")
        return evaluate(*arguments, **options)

    monkeypatch.setattr(retrain_module, "evaluate", watched)
    retrain_network(tiny, RECIPE, manifest, out=tmp_path, listener=Listener(on_epoch=lambda epoch: events.append(epoch.epoch)))
    assert events == [1, 2, 3, "test"]


@pytest.mark.parametrize("finished", [True, False])
def test_another_setup_in_the_same_folder_is_refused_with_the_difference(tiny, manifest, tmp_path, finished):
    if finished:
        retrain_network(tiny, RECIPE, manifest, out=tmp_path)
    else:
        with pytest.raises(KeyboardInterrupt):
            retrain_network(tiny, RECIPE, manifest, out=tmp_path, listener=Listener(on_epoch=interrupted))
    with pytest.raises(NasError, match=r"recipe\.lr: 0\.001 there, 0\.1 here"):
        retrain_network(tiny, RECIPE.model_copy(update={"lr": 0.1}), manifest, out=tmp_path)
    with pytest.raises(NasError, match="seed: 0 there, 1 here"):
        retrain_network(tiny, RECIPE, manifest, out=tmp_path, seed=1)


def without(*settings):
    """What makes a setup one that was written before recipes had these settings."""

    def older(setup):
        return {**setup, "recipe": {name: value for name, value in setup["recipe"].items() if name not in settings}}

    return older


OLDER = without("schedule", "warmup_lr", "ema_warmup")


def test_a_training_that_was_cut_short_before_recipes_had_schedules_goes_on(tiny, manifest, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        retrain_network(tiny, RECIPE, manifest, out=tmp_path, listener=Listener(on_epoch=interrupted))
    checkpoint = read_checkpoint(tmp_path / "checkpoint.pt", "setup", "state")
    write_checkpoint(tmp_path / "checkpoint.pt", {**checkpoint, "setup": OLDER(checkpoint["setup"])})
    with pytest.raises(NasError, match=r"recipe\.schedule: warmup_then_cosine there, timm here"):
        retrain_network(tiny, RECIPE.model_copy(update={"schedule": "timm"}), manifest, out=tmp_path)
    assert retrain_network(tiny, RECIPE, manifest, out=tmp_path).epochs == 3


@pytest.mark.thorough
def test_a_training_whose_loader_drew_otherwise_is_not_gone_on_with(tiny, tmp_path):
    recipe = RECIPE.model_copy(update={"loader": Loader(workers=0), "epochs": 3})
    manifest = manifest_of(recipe, seed=0)
    with pytest.raises(KeyboardInterrupt):
        retrain_network(tiny, recipe, manifest, out=tmp_path, listener=Listener(on_epoch=interrupted))
    checkpoint = read_checkpoint(tmp_path / "checkpoint.pt", "views")
    write_checkpoint(tmp_path / "checkpoint.pt", {name: part for name, part in checkpoint.items() if name != "views"})
    with pytest.raises(NasError, match="was begun by an earlier version, whose loader draws other augmentation"):
        retrain_network(tiny, recipe, manifest, out=tmp_path)
    write_checkpoint(tmp_path / "checkpoint.pt", checkpoint)
    assert retrain_network(tiny, recipe, manifest, out=tmp_path).epochs == 3


def test_a_result_from_before_recipes_had_schedules_is_read_back(tiny, manifest, tmp_path):
    result = retrain_network(tiny, RECIPE, manifest, out=tmp_path)
    older = result.model_copy(update={"setup": OLDER(result.setup)})
    (tmp_path / "result.json").write_text(older.model_dump_json())
    assert retrain_network(tiny, RECIPE, manifest, out=tmp_path) == older


def test_settings_by_size_become_one_networks_and_are_said(tiny, manifest, tmp_path):
    by_size = RECIPE.model_copy(update={"drop_path": {"s12": 0.2, "m48": 0.4}, "head_dropout": {"s12": 0.1}})
    beginnings = []
    listener = Listener(on_begin=beginnings.append)
    result = retrain_network(tiny, by_size, manifest, out=tmp_path, listener=listener)
    assert beginnings[0].remarks[0] == "drop_path 0.2, head_dropout 0.1: by size, as s12, the smallest"
    assert (result.setup["recipe"]["drop_path"], result.setup["recipe"]["head_dropout"]) == (0.2, 0.1)
    assert retrain_network(tiny, by_size, manifest, out=tmp_path) == result


def test_a_damaged_checkpoint_is_refused_by_name(tiny, manifest, tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(NasError, match=r"checkpoint\.pt"):
        retrain_network(tiny, RECIPE, manifest, out=tmp_path)


def test_a_file_of_somebody_else_is_no_checkpoint(tiny, manifest, tmp_path):
    torch.save({"model": {}}, tmp_path / "checkpoint.pt")
    with pytest.raises(NasError, match=r"checkpoint\.pt: must be a checkpoint of ours"):
        retrain_network(tiny, RECIPE, manifest, out=tmp_path)


@pytest.mark.parametrize("theirs", ["search.yaml", "thesis.tex"])
def test_a_folder_of_something_else_is_refused_and_left_alone(tiny, manifest, tmp_path, theirs):
    """A run's folder holds a manifest of its own, without which its record is worth nothing."""
    for name in (theirs, "manifest.json"):
        (tmp_path / name).write_text("mine")
    with pytest.raises(NasError, match=r"must be new or hold a training, but holds manifest\.json"):
        retrain_network(tiny, RECIPE, manifest, out=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {theirs, "manifest.json"}


def test_a_damaged_result_is_refused_by_name(tiny, manifest, tmp_path):
    (tmp_path / "result.json").write_text("{")
    with pytest.raises(ConfigError, match=r"result\.json: is damaged"):
        retrain_network(tiny, RECIPE, manifest, out=tmp_path)


def test_a_training_that_diverges_is_an_error_with_a_way_out(tiny, manifest, tmp_path):
    wild = RECIPE.model_copy(update={"optimizer": "sgd", "lr": 1e30, "clip_grad": None})
    with pytest.raises(NasError, match=r"diverged: loss nan .*Lower lr"):
        retrain_network(tiny, wild, manifest, out=tmp_path)
    assert not (tmp_path / "result.json").exists()


@pytest.mark.thorough
def test_the_architecture_beside_the_weights_is_the_one_that_was_trained(tiny, manifest, tmp_path):
    retrain_network(tiny, RECIPE.model_copy(update={"stem_stride": 2}), manifest, out=tmp_path)
    beside = read_architecture(tmp_path / "architecture.json")
    assert beside.stem_stride == 2
    model = build(beside, image_size=RECIPE.image_size, num_classes=len(manifest.class_names))
    model.load_state_dict(load_file(tmp_path / "model.safetensors"))


HELD_OUT = RECIPE.model_copy(update={"validation_share": 0.25, "ema": 0.5})


def test_the_held_out_images_are_followed_by_the_weights_and_by_their_average(tiny, tmp_path):
    told = []
    manifest = make_manifest(HELD_OUT, seed=0)
    listener = Listener(on_begin=told.append, on_epoch=told.append)
    retrain_network(tiny, HELD_OUT, manifest, out=tmp_path, listener=listener)
    begun, *epochs = told
    assert begun == (90, 30, len(manifest.test), 0, ())
    assert all(None not in (e.accuracy, e.top5, e.raw_accuracy, e.raw_top5) for e in epochs)
    header, *rows = (tmp_path / "curve.csv").read_text().splitlines()
    assert header == "epoch,train_loss,lr,accuracy,top5,loss,raw_accuracy,raw_top5,seconds,reading_seconds"
    assert [float(row.split(",")[3]) for row in rows] == [e.accuracy for e in epochs]


def test_the_best_weights_lie_beside_the_last_and_are_tested_where_the_recipe_keeps_them(tiny, tmp_path, monkeypatch):
    accuracies = iter([0.2, 0.6, 0.4, 0.5])  # of three epochs, and of the test images

    def pretended(*arguments, **options):
        return evaluate(*arguments, **options)._replace(accuracy=next(accuracies))

    monkeypatch.setattr("nas.training.loop.evaluate_each", lambda *a, **options: (pretended(*a, **options), None))
    monkeypatch.setattr(retrain_module, "evaluate", pretended)
    recipe = RECIPE.model_copy(update={"validation_share": 0.25, "keep": "best"})
    states = []
    monkeypatch.setattr(
        retrain_module.RetrainingFolder,
        "save",
        lambda self, state: states.append({k: v.clone() for k, v in state["model"].items()}),
    )
    result = retrain_network(tiny, recipe, make_manifest(recipe, seed=0), out=tmp_path)
    assert (result.kept_epoch, result.epochs, result.accuracy) == (2, 3, 0.5)
    kept, best = load_file(tmp_path / "model.safetensors"), load_file(tmp_path / "best.safetensors")
    assert all(torch.equal(kept[name], best[name]) and torch.equal(kept[name], states[1][name]) for name in kept)


def killed_after(number):
    def epoch(epoch):
        if epoch.epoch == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return Listener(on_epoch=epoch)


LOADER = {"workers": 0, "auto_augment": "rand-m3-n1", "test_crop": 1.0}


@pytest.mark.thorough
@pytest.mark.parametrize("loader", [None, pytest.param(LOADER, marks=pytest.mark.slow)])
def test_two_processes_that_are_killed_go_on_to_the_weights_of_two_that_were_not(tiny, tmp_path, loader):
    recipe = FullRecipe.model_validate(
        {**RECIPE.model_dump(), "epochs": 2, "images_per_class": 6, "validation_share": 0.25, "ema": 0.9, "mixup": 0.2,
         "batch_size": 16, "loader": loader}
    )  # fmt: skip
    manifest = manifest_of(recipe, seed=0)

    def trained(folder, listener=SILENT):
        return lambda: retrain_network(tiny, recipe, manifest, out=tmp_path / folder, listener=listener).accuracy

    whole = in_processes(2, trained("whole"), tmp_path)
    assert in_processes(2, trained("cut", killed_after(1)), tmp_path) == [None, None]
    assert (tmp_path / "cut" / "checkpoint.pt").exists() and not (tmp_path / "cut" / "result.json").exists()
    assert in_processes(2, trained("cut"), tmp_path) == whole
    for name in ("model", "best"):
        one, two = (load_file(tmp_path / folder / f"{name}.safetensors") for folder in ("whole", "cut"))
        assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_training_may_go_on_elsewhere_but_not_with_another_recipe(tiny, manifest, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        retrain_network(tiny, RECIPE, manifest, out=tmp_path, listener=Listener(on_epoch=interrupted))
    moved = RECIPE.model_copy(update={"data": "/elsewhere/digits", "device_batch": 16})
    assert retrain_network(tiny, moved, manifest, out=tmp_path).epochs == 3


def test_a_training_starts_from_given_weights_and_a_classifier_of_other_classes_begins_anew(tiny, manifest, tmp_path):
    retrain_network(tiny, RECIPE, manifest, out=tmp_path / "first")
    given = load_file(tmp_path / "first" / "model.safetensors")
    begun = build(tiny, image_size=32, num_classes=10)
    load_initial(begun, str(tmp_path / "first"))
    assert all(torch.equal(begun.state_dict()[key], given[key]) for key in given)
    other = build(tiny, image_size=32, num_classes=3)
    fresh = other.head.fc.weight.clone()
    load_initial(other, str(tmp_path / "first" / "model.safetensors"))
    assert torch.equal(other.head.fc.weight, fresh) and torch.equal(other.stem.conv.weight, given["stem.conv.weight"])


def test_weights_that_belong_to_positions_are_refused_at_another_size(tiny, manifest, tmp_path):
    retrain_network(tiny, RECIPE, manifest, out=tmp_path / "first")
    finer = RECIPE.model_copy(update={"image_size": 64, "weights": str(tmp_path / "first")})
    with pytest.raises(ConfigError, match=r"of the same image size, because random, spatial_fc .* at 64 px"):
        retrain_network(tiny, finer, manifest, out=tmp_path / "second")


def test_weights_of_another_architecture_are_refused_by_name(tiny, manifest, tmp_path):
    plain = Architecture(stages=(Stage(mixer="conv", depth=1, width=8, kernel_size=3),))
    wider = Architecture(stages=(Stage(mixer="conv", depth=1, width=16, kernel_size=3),))
    retrain_network(plain, RECIPE, manifest, out=tmp_path / "first")
    with pytest.raises(
        ConfigError, match=r"must hold the weights of this architecture, but \d+ do not fit, such as .*: .* there"
    ):
        load_initial(build(wider, image_size=32, num_classes=10), str(tmp_path / "first"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": (24, 32)}, "image_size must be one size for weights that belong to positions"),
        ({"optimizer": "adamm"}, "optimizer: unknown optimizer 'adamm'; did you mean adam"),
        ({"loader": {"auto_augment": "foo"}}, "auto_augment: must be a text that timm reads, such as .*, but got 'foo'"),
        ({"image_size": 4}, "an image of 4 px is too small"),
        ({"distillation": {"teacher": "timm/resnet18"}}, "its weights must lie on this machine, because nothing is downloaded"),
    ],
)
def test_what_a_training_cannot_do_is_told_before_it_begins(tiny, manifest, tmp_path, changes, message):
    recipe = FullRecipe.model_validate({**RECIPE.model_dump(), "crop_padding": 1, **changes})
    with pytest.raises(NasError, match=message):
        retrain_network(tiny, recipe, manifest, out=tmp_path)
    assert not (tmp_path / "checkpoint.pt").exists()


def test_memory_that_does_not_suffice_is_one_message_with_a_way_out(tiny, manifest, tmp_path, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(retrain_module, "fit", full)
    with pytest.raises(NasError, match=r"memory doesn't suffice: CUDA out of memory.*Lower device_batch"):
        retrain_network(tiny, RECIPE, manifest, out=tmp_path)


@pytest.mark.slow
def test_fp16_learns_and_goes_on_with_the_scale_it_had(tiny, manifest, tmp_path):
    recipe = RECIPE.model_copy(update={"precision": "fp16"})
    whole = retrain_network(tiny, recipe, manifest, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        retrain_network(tiny, recipe, manifest, out=tmp_path / "cut", listener=Listener(on_epoch=interrupted))
    state = torch.load(tmp_path / "cut" / "checkpoint.pt", weights_only=True)["state"]
    assert state["scaler"]["scale"] > 0 and state["curve"][1]["train_loss"] < state["curve"][0]["train_loss"]
    assert retrain_network(tiny, recipe, manifest, out=tmp_path / "cut").loss == whole.loss


def test_two_trainings_in_one_folder_are_refused(tiny, manifest, tmp_path, monkeypatch):
    monkeypatch.setattr("nas.retraining.folder.ENDING_SECONDS", 0.1)

    def again(epoch):
        with pytest.raises(NasError, match="must be trained in by one command at a time"):
            retrain_network(tiny, RECIPE, manifest, out=tmp_path)

    retrain_network(tiny, RECIPE.model_copy(update={"epochs": 1}), manifest, out=tmp_path, listener=Listener(on_epoch=again))


@pytest.mark.slow
def test_torchrun_killed_at_any_moment_goes_on_to_the_same_weights(tiny, tmp_path):
    (tmp_path / "tiny.json").write_text(json.dumps(tiny.to_dict()))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "nas", "retrain"]
    command += [str(tmp_path / "tiny.json"), "--recipe", "digits_quick", "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(folder):
        whole = [*command, "--out", str(tmp_path / folder)]
        return subprocess.Popen(whole, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)

    assert start("whole").wait(timeout=300) == 0
    first = start("cut")
    while not (tmp_path / "cut" / "checkpoint.pt").exists():
        time.sleep(0.05)
    for pid in (first.pid, *started_by(first.pid)):
        os.kill(pid, signal.SIGKILL)
    first.wait()
    again = start("cut")
    out, _ = again.communicate(timeout=300)
    assert again.returncode == 0 and "going on after epoch" in out
    one, two = (load_file(tmp_path / folder / "model.safetensors") for folder in ("whole", "cut"))
    assert all(torch.equal(one[key], two[key]) for key in one)
