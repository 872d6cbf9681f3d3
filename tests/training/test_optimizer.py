"""The learning rate of every update is that of timm's scheduler where a recipe asks for it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.scheduler import create_scheduler_v2

from nas.recipes.full import FullRecipe, read_full_recipe
from nas.recipes.recipe import Proxy
from nas.training.optimizer import lr_share

SHARES = st.one_of(st.just(0.0), st.floats(1e-6, 0.99))


def timms_rates(recipe, steps_per_epoch):
    """The rate that timm's train.py makes each update with."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=recipe.lr)
    by_epoch = recipe.schedule == "timm_by_epoch"
    scheduler, num_epochs = create_scheduler_v2(
        optimizer,
        sched="cosine",
        num_epochs=recipe.epochs - recipe.cooldown_epochs,
        cooldown_epochs=recipe.cooldown_epochs,
        min_lr=recipe.lr * recipe.min_lr,
        warmup_lr=recipe.lr * recipe.warmup_lr,
        warmup_epochs=recipe.warmup_epochs,
        step_on_epochs=by_epoch,
        updates_per_epoch=steps_per_epoch,
    )
    assert num_epochs == recipe.epochs
    rates, num_updates = [], 0
    for epoch in range(num_epochs):
        for _ in range(steps_per_epoch):
            rates.append(optimizer.param_groups[0]["lr"])
            num_updates += 1
            scheduler.step_update(num_updates)
        scheduler.step(epoch + 1)
    return rates


def our_rates(recipe, steps_per_epoch):
    return [recipe.lr * lr_share(step, steps_per_epoch, recipe) for step in range(1, recipe.epochs * steps_per_epoch + 1)]


@st.composite
def recipes(draw):
    annealed, cooldown = draw(st.integers(2, 30)), draw(st.integers(0, 5))
    return FullRecipe(
        schedule=draw(st.sampled_from(["timm", "timm_by_epoch"])),
        lr=draw(st.floats(1e-5, 1.0)),
        epochs=annealed + cooldown,
        cooldown_epochs=cooldown,
        warmup_epochs=draw(st.one_of(st.integers(0, annealed - 1), st.floats(0, annealed - 0.5))),
        warmup_lr=draw(SHARES),
        min_lr=draw(st.one_of(SHARES, st.just(1.0))),
    )


@given(recipes(), st.integers(1, 12))
def test_every_update_is_made_with_the_rate_of_timms_scheduler(recipe, steps_per_epoch):
    theirs = timms_rates(recipe, steps_per_epoch)
    assert our_rates(recipe, steps_per_epoch) == pytest.approx(theirs, rel=1e-12, abs=1e-15 * recipe.lr)


@pytest.mark.parametrize("name", ["poolformer_300", "randformer_300", "convformer_300", "caformer_300", "finetune_384"])
def test_a_papers_recipe_has_the_rates_of_timms_scheduler(name):
    recipe = read_full_recipe(name)
    ours = our_rates(recipe, 3)
    assert ours == pytest.approx(timms_rates(recipe, 3), rel=1e-12)
    if name != "finetune_384":
        assert [ours[0], ours[2], ours[-1]] == pytest.approx([1e-6, 1e-6, 1e-5])


def test_fine_tuning_keeps_its_rate():
    assert set(our_rates(read_full_recipe("finetune_384"), 4)) == {5e-5}


def test_the_cosine_does_not_begin_anew_behind_the_warm_up():
    recipe = FullRecipe(schedule="timm", epochs=10, warmup_epochs=5, min_lr=0)
    assert lr_share(5 * 4 + 1, 4, recipe) == pytest.approx(0.5)  # half of the cosine has passed
    assert lr_share(5 * 4, 4, FullRecipe(epochs=10, warmup_epochs=5)) == 1


def test_a_proxys_schedule_stays_as_it_was():
    recipe = Proxy(epochs=4, warmup_epochs=1.5, min_lr=0.01)
    assert [lr_share(step, 2, recipe) for step in range(1, 9)] == [
        1 / 3, 2 / 3, 1.0, 0.905463412215599, 0.657963412215599, 0.35203658778440106, 0.10453658778440106, 0.01,
    ]  # fmt: skip
