"""A recipe is checked where it is read, and reads without torch."""

import subprocess
import sys

import pytest

from nas.config.values import validated
from nas.errors import ConfigError
from nas.recipes.recipe import Proxy, Recipe


def refusal(model=Recipe, **values):
    with pytest.raises(ConfigError) as caught:
        validated(model, values, where="recipe.yaml")
    return str(caught.value)


def test_a_recipe_is_read_without_torch():
    code = "import sys, nas.recipes.recipe; print('torch' in sys.modules or 'timm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"


def test_a_recipe_survives_the_way_to_plain_data_and_back():
    recipe = Proxy(epochs=9, rungs=(1, 3), ema=0.99, images_per_class=100)
    assert validated(Proxy, recipe.model_dump(mode="json"), where="") == recipe


def test_a_warm_up_as_long_as_the_training_is_refused():
    text = refusal(epochs=2, warmup_epochs=2.0)
    assert "recipe.yaml: warmup_epochs: must be below epochs=2, but got 2.0" in text


def test_a_batch_of_one_image_is_refused_with_its_name():
    assert "batch_size" in refusal(batch_size=1)


def test_an_optimizer_that_is_misspelt_is_answered_with_the_nearest():
    assert "did you mean adamw" in refusal(optimizer="adam_w")


@pytest.mark.parametrize("rungs", [(3, 1), (2, 2), (10,), (0, 1)])
def test_rungs_that_do_not_rise_below_the_last_epoch_are_refused(rungs):
    assert "rungs" in refusal(Proxy, epochs=10, rungs=rungs)


def test_an_unknown_key_is_refused_with_the_nearest():
    assert "did you mean epochs" in refusal(epoch=3)


@pytest.mark.parametrize(
    "values",
    [
        {"lr": 0},
        {"lr": float("nan")},
        {"validation_share": 1.0},
        {"validation_share": 0.0},
        {"epochs": 0},
        {"epochs": 2.5},
        {"classes": 1},
        {"images_per_class": 1},
        {"crop_padding": 32},
        {"ema": 1.0},
        {"label_smoothing": 1.0},
        {"random_erasing": 1.5},
        {"data": ""},
        {"crop_scale": [0, 1]},
        {"crop_scale": [0.8, 0.4]},
        {"image_size": [64, 32]},
        {"image_size": 2},
        {"mixer_lr": {"attention": 0}},
        {"retry_lr": 1},
        {"layer_scale": -1},
        {"classes": ["one"]},
        {"classes": ["twice", "twice"]},
    ],
)
def test_a_value_outside_its_range_is_refused_by_name(values):
    assert next(iter(values)) in refusal(**values)


def test_a_recipe_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Recipe().epochs = 3


def test_images_grow_in_steps_of_eight_pixels_to_the_size_they_are_judged_at():
    recipe = Recipe(image_size=[128, 160], epochs=6)
    assert [recipe.size_at(epoch) for epoch in range(1, 7)] == [128, 136, 144, 144, 152, 160]
    assert recipe.full_size == 160


def test_one_size_and_one_epoch_train_at_full_size():
    assert [Recipe(image_size=64).size_at(epoch) for epoch in (1, 6)] == [64, 64]
    assert Recipe(image_size=[32, 64], epochs=1, warmup_epochs=0).size_at(1) == 64


def test_classes_can_stand_in_a_file_which_the_recipe_then_no_longer_needs(tmp_path):
    path = tmp_path / "classes.tsv"
    path.write_text("# wnid and name\nn01443537\tgoldfish\n\nn01629819\tsalamander\n")
    recipe = Recipe(classes=str(path))
    path.unlink()
    assert recipe.classes == ("n01443537", "n01629819")
    assert (recipe.num_classes, Recipe(classes=7).num_classes, Recipe().num_classes) == (2, 7, None)
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe


def test_a_file_of_classes_that_is_missing_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.txt: cannot be read"):
        validated(Recipe, {"classes": str(tmp_path / "none.txt")}, where="recipe.yaml")


def test_a_wrong_value_breaks_one_rule_only():
    assert len(refusal(image_size=2).splitlines()) == len(refusal(classes=1).splitlines()) == 1
