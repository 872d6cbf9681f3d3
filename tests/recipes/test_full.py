"""Full recipes: what a proxy never needs, and the papers' own by name."""

import pytest

from nas.errors import ConfigError
from nas.recipes.full import FullRecipe, read_full_recipe
from nas.shipped import shipped_files

# arXiv:2111.11418, section 4.1, and arXiv:2210.13452, appendix: batch, optimiser, peak and last rate, warm-up
PAPERS = {
    "poolformer_300": (1024, "adamw", 1e-3, 5),
    "convformer_300": (4096, "adamw", 4e-3, 20),
    "caformer_300": (4096, "lamb", 8e-3, 20),
}


@pytest.mark.parametrize("name", PAPERS)
def test_a_papers_recipe_holds_the_papers_figures(name):
    recipe = read_full_recipe(name)
    assert (recipe.batch_size, recipe.optimizer, recipe.lr, recipe.warmup_epochs) == PAPERS[name]
    assert recipe.lr * recipe.min_lr == pytest.approx(1e-5)
    assert (recipe.epochs, recipe.annealed_epochs, recipe.image_size, recipe.weight_decay) == (310, 300, 224, 0.05)
    assert (recipe.mixup, recipe.cutmix, recipe.label_smoothing, recipe.random_erasing) == (0.8, 1.0, 0.1, 0.25)
    assert (recipe.ema, recipe.clip_grad) == (None, None)
    assert (recipe.loader.auto_augment, recipe.loader.color_jitter, recipe.loader.erasing) == (
        "rand-m9-mstd0.5-inc1",
        0.4,
        "pixel",
    )


@pytest.mark.parametrize(
    ("name", "blocks", "rate"),
    [("poolformer_300", 12, 0.1), ("poolformer_300", 36, 0.2), ("convformer_300", 18, 0.2), ("convformer_300", 36, 0.3),
     ("caformer_300", 18, 0.15), ("caformer_300", 36, 0.3)],
)  # fmt: skip
def test_stochastic_depth_follows_the_papers_sizes(name, blocks, rate):
    assert read_full_recipe(name).of_depth(blocks).drop_path == rate


def test_between_two_depths_the_drop_path_lies_on_a_line_and_beyond_them_it_is_level():
    recipe = FullRecipe(drop_path={12: 0.1, 36: 0.3})
    assert [recipe.of_depth(blocks).drop_path for blocks in (4, 12, 24, 36, 50)] == [0.1, 0.1, 0.2, 0.3, 0.3]
    assert FullRecipe(drop_path=0.4).of_depth(4).drop_path == 0.4


@pytest.mark.parametrize("path", shipped_files("recipe").values(), ids=lambda path: path.stem)
def test_every_shipped_recipe_can_be_read_and_written_back(path):
    recipe = read_full_recipe(path.stem)
    assert FullRecipe.model_validate(recipe.model_dump(mode="json")) == recipe


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keep": "best"}, "keep: must be last where validation_share is 0"),
        ({"cooldown_epochs": 6}, "cooldown_epochs: must leave more than warmup_epochs=1"),
        ({"drop_path": {}}, "drop_path"),
        ({"drop_path": 1.5}, "drop_path: must be less than 1"),
        ({"retry_lr": 0.3}, "retry_lr"),
        ({"loader": {"worker": 2}}, "loader: unknown key 'worker'; did you mean workers"),
        ({"precision": "fp8"}, "unknown precision 'fp8'"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes, message):
    from nas.config import validated

    with pytest.raises(ConfigError, match=message):
        validated(FullRecipe, changes, where="recipe.yaml")
