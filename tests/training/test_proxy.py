"""What an architecture does to its training comes back as an outcome; what is wrong with the data is raised."""

import pytest
import torch
from safetensors.torch import load_file

from nas.data.draw import make_manifest
from nas.data.manifest import Images, load_split
from nas.errors import ConfigError
from nas.models.metaformer import build
from nas.models.size import is_out_of_memory
from nas.recipes.as_trained import as_trained
from nas.recipes.recipe import Proxy, Recipe
from nas.space.architecture import Architecture, Stage
from nas.training import proxy
from nas.training.evaluation import evaluate
from nas.training.proxy import train_proxy

RECIPE = Recipe(epochs=2, images_per_class=20, batch_size=32, warmup_epochs=0.5)


@pytest.fixture
def manifest():
    return make_manifest(RECIPE, seed=0)


def without_time(outcome):
    return outcome.accuracy, [epoch.model_dump(exclude={"seconds", "reading_seconds"}) for epoch in outcome.curve]


def test_a_training_gives_a_curve_of_every_epoch_and_its_last_accuracy(tiny, manifest):
    outcome = train_proxy(tiny, RECIPE, manifest, seed=0)
    assert [epoch.epoch for epoch in outcome.curve] == [1, 2]
    assert outcome.accuracy == outcome.curve[-1].accuracy
    assert (outcome.cause, outcome.seconds > 0) == (None, True)


def test_the_same_seed_gives_the_same_outcome_and_another_seed_another(tiny, manifest):
    first, again, other = (without_time(train_proxy(tiny, RECIPE, manifest, seed=seed)) for seed in (0, 0, 1))
    assert first == again
    assert first != other


@pytest.mark.thorough
def test_a_training_that_was_stopped_has_a_curve_but_no_accuracy(tiny, manifest, tmp_path):
    outcome = train_proxy(tiny, RECIPE, manifest, seed=0, on_epoch=lambda epoch: False, weights=tmp_path / "w.safetensors")
    assert (len(outcome.curve), outcome.accuracy, outcome.cause) == (1, None, None)
    assert not (tmp_path / "w.safetensors").exists()


def test_the_weights_written_are_those_that_were_measured(tiny, manifest, tmp_path):
    outcome = train_proxy(tiny, RECIPE, manifest, seed=0, weights=tmp_path / "new" / "w.safetensors")
    model = build(tiny, image_size=32, num_classes=10)
    model.load_state_dict(load_file(tmp_path / "new" / "w.safetensors"))
    model = model.to(memory_format=torch.channels_last)
    validation = load_split(manifest, "validation", image_size=32)
    assert evaluate(model, validation, RECIPE).accuracy == outcome.accuracy


def test_a_training_that_diverges_is_a_cause(tiny, manifest):
    wild = RECIPE.model_copy(update={"optimizer": "sgd", "lr": 1e30, "clip_grad": None})
    outcome = train_proxy(tiny, wild, manifest, seed=0)
    assert outcome.accuracy is None
    assert outcome.cause.startswith("diverged: loss nan at epoch 1, step ")


@pytest.mark.thorough
@pytest.mark.parametrize(
    "error",
    [
        MemoryError("no memory"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 10 bytes"),
    ],
)
def test_memory_that_does_not_suffice_is_a_cause_and_keeps_the_curve_so_far(tiny, manifest, error):
    def full(epoch):
        if epoch.epoch == 2:
            raise error

    outcome = train_proxy(tiny, RECIPE, manifest, seed=0, on_epoch=full)
    assert outcome.cause.startswith("out of memory: ")
    assert len(outcome.curve) == 2


def test_torchs_own_allocation_failure_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


def test_images_too_small_for_the_stages_are_a_cause(manifest):
    deep = Architecture(stages=tuple(Stage(mixer="pool", depth=1, width=8) for _ in range(6)))
    assert train_proxy(deep, RECIPE, manifest, seed=0).cause.startswith("infeasible: ")


def test_an_error_of_our_own_is_raised(tiny, manifest, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(proxy, "build", broken)
    with pytest.raises(RuntimeError, match="mat1"):
        train_proxy(tiny, RECIPE, manifest, seed=0)


def test_a_smaller_stem_stride_gives_a_larger_token_grid(tiny):
    model = proxy.fresh_network(tiny, RECIPE.model_copy(update={"stem_stride": 2}), num_classes=10, seed=0)
    assert model.forward_features(torch.zeros(1, 3, 32, 32)).shape[-1] == 8  # 32 px / 2 / 2; with the own stride of 4 it is 4


def test_a_stem_stride_beyond_the_kernel_is_refused(tiny):
    with pytest.raises(ConfigError, match="stem_stride 9"):
        proxy.fresh_network(tiny, RECIPE.model_copy(update={"stem_stride": 9}), num_classes=10, seed=0)


def test_validation_images_are_never_trained_on(tiny, manifest, monkeypatch):
    asked = []

    def recorded(manifest, split, **options):
        asked.append(split)
        return load_split(manifest, split, **options)

    monkeypatch.setattr(proxy, "load_split", recorded)
    monkeypatch.setattr(proxy, "fit", lambda model, train, validation, *_, on_epoch, **__: check(train, validation, on_epoch))

    def check(train: Images, validation: Images, on_epoch):
        assert (len(train.labels), len(validation.labels)) == (160, 40)

    with pytest.raises(IndexError):  # no epoch was recorded
        train_proxy(tiny, RECIPE.model_copy(update={"epochs": 0}), manifest, seed=0)
    assert asked == ["train", "validation"]


def test_a_training_that_diverges_is_repeated_once_at_a_lower_rate_and_says_so(tiny, manifest):
    wild = RECIPE.model_copy(update={"optimizer": "sgd", "lr": 1e30, "retry_lr": 1e-33, "clip_grad": None})
    outcome = train_proxy(tiny, wild, manifest, seed=0)
    assert outcome.accuracy is not None and outcome.cause is None
    assert [epoch.epoch for epoch in outcome.curve] == [1, 2]
    assert all(epoch.retried.startswith("diverged: loss ") for epoch in outcome.curve)
    assert outcome.curve[-1].lr < 1e-3


def test_a_training_that_diverges_twice_gives_both_causes(tiny, manifest):
    wild = RECIPE.model_copy(update={"optimizer": "sgd", "lr": 1e30, "retry_lr": 0.5, "clip_grad": None})
    cause = train_proxy(tiny, wild, manifest, seed=0).cause
    assert cause.startswith("diverged: loss ") and "; at 0.5 of the rate diverged: loss " in cause


def test_no_rate_to_retry_with_means_one_attempt(tiny, manifest):
    wild = RECIPE.model_copy(update={"optimizer": "sgd", "lr": 1e30, "retry_lr": None, "clip_grad": None})
    assert "rate" not in train_proxy(tiny, wild, manifest, seed=0).cause


def test_growing_images_do_not_suit_weights_that_belong_to_positions(manifest):
    fixed = Architecture(stages=[Stage(mixer="spatial_fc", depth=1, width=8)])
    growing = RECIPE.model_copy(update={"image_size": (16, 32)})
    assert train_proxy(fixed, growing, manifest, seed=0).cause.startswith("infeasible: image_size must be one size")


@pytest.mark.parametrize(("value", "expected"), [(0.01, 0.01), (0, None)])
def test_the_recipes_layer_scale_replaces_the_architectures(tiny, value, expected):
    changed = as_trained(tiny, RECIPE.model_copy(update={"layer_scale": value}))
    assert {stage.layer_scale for stage in changed.stages} == {expected}
    assert as_trained(tiny, RECIPE) == tiny


class Killed(BaseException):
    """Ends a training as SIGKILL would: nothing after it runs."""


def until_epoch(last: int):
    def on_epoch(epoch):
        if epoch.epoch == last:
            raise Killed

    return on_epoch


@pytest.mark.thorough
def test_a_killed_training_goes_on_from_its_checkpoint_and_ends_as_an_unkilled_one(tiny, manifest, tmp_path):
    recipe, files = Proxy(**RECIPE.model_dump() | {"epochs": 4}, rungs=(2,)), {"checkpoint": tmp_path / "c.pt"}
    whole = train_proxy(tiny, recipe, manifest, seed=0, weights=tmp_path / "whole.safetensors")
    with pytest.raises(Killed):
        train_proxy(tiny, recipe, manifest, seed=0, on_epoch=until_epoch(3), **files)
    known, trained = [], []
    again = train_proxy(
        tiny,
        recipe,
        manifest,
        seed=0,
        on_start=lambda curve: known.extend(e.epoch for e in curve),
        on_epoch=lambda e: trained.append(e.epoch),
        weights=tmp_path / "again.safetensors",
        **files,
    )
    assert known[:2] == [1, 2] and known + trained == [1, 2, 3, 4]
    assert without_time(again) == without_time(whole)
    weights = [load_file(tmp_path / f"{name}.safetensors") for name in ("whole", "again")]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_a_checkpoint_of_another_training_is_not_taken(tiny, manifest, tmp_path):
    train_proxy(tiny, RECIPE, manifest, seed=0, checkpoint=tmp_path / "c.pt")
    known = []
    train_proxy(tiny, RECIPE, manifest, seed=1, checkpoint=tmp_path / "c.pt", on_start=known.extend)
    assert known == []


def test_a_rung_may_end_a_training_that_was_taken_up_again(tiny, manifest, tmp_path):
    whole = train_proxy(tiny, RECIPE, manifest, seed=0, checkpoint=tmp_path / "c.pt")
    again = train_proxy(tiny, RECIPE, manifest, seed=0, checkpoint=tmp_path / "c.pt", on_start=lambda curve: False)
    assert (again.accuracy, again.curve) == (None, whole.curve)
