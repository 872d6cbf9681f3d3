"""Full recipes: what a proxy never needs, and the papers' own by name."""

import pytest

from nas.errors import ConfigError
from nas.recipes.full import FullRecipe, read_full_recipe
from nas.shipped import shipped_files
from nas.space.reference import design, designs

# arXiv:2111.11418, section 4.1, and arXiv:2210.13452, appendix: batch, optimiser, peak rate, warm-up
PAPERS = {
    "poolformer_300": (1024, "adamw", 1e-3, 5),
    "poolformerv2_300": (4096, "adamw", 4e-3, 5),
    "randformer_300": (4096, "adamw", 4e-3, 5),
    "convformer_300": (4096, "adamw", 4e-3, 20),
    "caformer_300": (4096, "lamb", 8e-3, 20),
}
POOL_SIZES, CONV_SIZES = ("s12", "s24", "s36", "m36", "m48"), ("s18", "s36", "m36", "b36")
POOL_CROPS, NONE, WHOLE = (0.9, 0.9, 0.9, 0.95, 0.95), (0.0,) * 5, (1.0,) * 5
# recipe, family, sizes; drop path, head dropout (sail-sg's training scripts) and test crop (its default_cfgs) of each size
BY_MODEL = [
    ("poolformer_300", "poolformer", POOL_SIZES, (0.1, 0.1, 0.2, 0.3, 0.4), NONE, POOL_CROPS),
    ("poolformer_300", "riformer", POOL_SIZES, (0.1, 0.1, 0.2, 0.3, 0.4), NONE, POOL_CROPS),
    ("poolformerv2_300", "poolformerv2", POOL_SIZES, (0.1, 0.1, 0.2, 0.3, 0.4), NONE, WHOLE),
    ("poolformerv2_300", "identityformer", POOL_SIZES, (0.1, 0.1, 0.2, 0.3, 0.4), NONE, WHOLE),
    ("randformer_300", "randformer", POOL_SIZES, (0.1, 0.1, 0.2, 0.3, 0.3), NONE, WHOLE),
    ("convformer_300", "convformer", CONV_SIZES, (0.2, 0.3, 0.4, 0.6), NONE[:4], WHOLE[:4]),
    ("caformer_300", "caformer", CONV_SIZES, (0.15, 0.3, 0.4, 0.6), (0.0, 0.4, 0.4, 0.5), WHOLE[:4]),
    ("finetune_384", "convformer", CONV_SIZES, (0.3, 0.5, 0.8, 0.8), (0.4, 0.4, 0.4, 0.5), WHOLE[:4]),
    ("caformer_384", "caformer", CONV_SIZES, (0.3, 0.5, 0.7, 0.8), (0.4, 0.4, 0.4, 0.5), WHOLE[:4]),
]
ROWS = [
    (recipe, f"{family}_{size}", row)
    for recipe, family, sizes, *columns in BY_MODEL
    for size, row in zip(sizes, zip(*columns, strict=True), strict=True)
]


@pytest.mark.parametrize("name", PAPERS)
def test_a_papers_recipe_holds_the_papers_figures(name):
    recipe = read_full_recipe(name)
    assert (recipe.batch_size, recipe.optimizer, recipe.lr, recipe.warmup_epochs) == PAPERS[name]
    assert recipe.lr * recipe.min_lr == pytest.approx(1e-5)
    assert recipe.lr * recipe.warmup_lr == pytest.approx(1e-6)
    assert recipe.schedule == "timm_by_epoch"
    assert (recipe.epochs, recipe.annealed_epochs, recipe.image_size, recipe.weight_decay) == (310, 300, 224, 0.05)
    assert (recipe.mixup, recipe.cutmix, recipe.label_smoothing, recipe.random_erasing) == (0.8, 1.0, 0.1, 0.25)
    assert (recipe.ema, recipe.clip_grad) == (None, None)
    assert (recipe.loader.auto_augment, recipe.loader.color_jitter, recipe.loader.erasing) == (
        "rand-m9-mstd0.5-inc1",
        0.4,
        "pixel",
    )


@pytest.mark.parametrize(("name", "model", "row"), ROWS, ids=lambda value: value if isinstance(value, str) else "")
def test_every_design_gets_the_papers_regularisation_and_crop_from_its_familys_recipe(name, model, row):
    recipe = read_full_recipe(name).for_network(design(model))
    assert (recipe.drop_path, recipe.head_dropout, recipe.loader.test_crop) == row


def test_no_family_of_designs_is_without_a_recipe():
    with_recipe = {model for _, model, _ in ROWS}
    others = {name.removesuffix("_timm").removesuffix("_train") for name in designs()} - with_recipe
    assert all(name.startswith("ablation_") for name in others)  # these are PoolFormer-S12s with changes


@pytest.mark.parametrize("name", [name for name in designs() if name.startswith("ablation_")])
def test_an_ablation_is_trained_as_poolformer_s12(name):
    recipe = read_full_recipe("poolformer_300")
    assert recipe.for_network(design(name)) == recipe.for_network(design("poolformer_s12"))


# sail-sg/metaformer, scripts/*/finetune_*_384.sh
@pytest.mark.parametrize(("name", "optimizer", "lr"), [("finetune_384", "adamw", 5e-5), ("caformer_384", "lamb", 1e-4)])
def test_fine_tuning_goes_at_a_constant_rate_without_mixing_under_a_constant_average(name, optimizer, lr):
    recipe = read_full_recipe(name)
    assert (recipe.optimizer, recipe.lr, recipe.batch_size, recipe.epochs, recipe.image_size) == (optimizer, lr, 1024, 30, 384)
    assert (recipe.mixup, recipe.cutmix, recipe.ema, recipe.ema_warmup) == (0, 0, 0.9999, False)
    assert (recipe.min_lr, recipe.warmup_epochs, recipe.cooldown_epochs) == (1, 0, 0)


def test_a_recipe_that_extends_another_changes_single_sizes():
    assert read_full_recipe("randformer_300").drop_path == {"s12": 0.1, "s24": 0.1, "s36": 0.2, "m36": 0.3, "m48": 0.3}
    assert read_full_recipe("convformer_300", settings=["drop_path=0.25"]).drop_path == 0.25


def test_what_settings_by_size_come_to_is_said_in_words():
    recipe = read_full_recipe("caformer_300")
    assert recipe.choice_by_size(design("caformer_b36")) == "drop_path 0.6, head_dropout 0.5: by size, as b36"
    assert recipe.for_network(design("caformer_b36")).choice_by_size(design("caformer_b36")) is None
    assert FullRecipe().choice_by_size(design("caformer_b36")) is None


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
        ({"drop_path": {18: 0.1}}, r"drop_path\.18: unknown size '18'; did you mean s18"),
        ({"head_dropout": {"s18": 1.5}}, r"head_dropout\.s18: must be less than 1"),
        ({"loader": {"test_crop": {"s18": 0}}}, r"loader\.test_crop\.s18: must be greater than 0"),
        ({"schedule": "linear"}, "schedule"),
        ({"min_lr": 1.1}, "min_lr"),
        ({"retry_lr": 0.3}, "retry_lr"),
        ({"loader": {"worker": 2}}, "loader: unknown key 'worker'; did you mean workers"),
        ({"precision": "fp8"}, "unknown precision 'fp8'"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes, message):
    from nas.config.values import validated

    with pytest.raises(ConfigError, match=message):
        validated(FullRecipe, changes, where="recipe.yaml")
