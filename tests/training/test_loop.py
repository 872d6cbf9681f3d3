"""The loop repeats itself, resumes where it stopped, and says when it diverges."""

import copy
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from nas.data.manifest import Images
from nas.errors import NasError
from nas.models.metaformer import build
from nas.recipes.full import FullRecipe
from nas.recipes.recipe import Recipe
from nas.training import loop, processes
from nas.training.batches import InMemory, num_steps
from nas.training.evaluation import computes_in_bf16, evaluate
from nas.training.loop import Diverged, fit
from nas.training.optimizer import lr_share, optimizer

QUICK = Recipe(image_size=8, epochs=3, batch_size=16, crop_padding=1, warmup_epochs=0.5, lr=0.01)


def network(*, classes=3):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.1),
        nn.Linear(32, classes),
    )  # fmt: skip


class SmallMemory(nn.Module):
    """A network whose training fits for so many images at once."""

    def __init__(self, inner, room):
        super().__init__()
        self.inner, self.room, self.seen = inner, room, []

    def forward(self, x):
        if len(x) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.seen.append(len(x))
        return self.inner(x)


def normless():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 3))


def images(number, *, seed=0, classes=3):
    """Noise with a colour for each class."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, classes, number)
    pixels = draw.integers(0, 100, (number, 8, 8, 3), dtype=np.uint8)
    pixels[np.arange(number), :, :, labels % 3] += 100
    return Images(pixels, labels)


TRAIN, VALIDATION = images(70), images(40, seed=1)


def curve_of(recipe=QUICK, *, seed=0, **options):
    return [(e.accuracy, e.loss, e.train_loss, e.lr) for e in fit(network(), TRAIN, VALIDATION, recipe, seed=seed, **options)]


def test_training_learns():
    curve = fit(network(), TRAIN, VALIDATION, QUICK.model_copy(update={"epochs": 12}), seed=0)
    assert [epoch.epoch for epoch in curve] == list(range(1, 13))
    assert curve[-1].accuracy > 0.9
    assert curve[-1].train_loss < curve[0].train_loss


EVERYTHING = {"ema": 0.9, "mixup": 0.3, "random_erasing": 0.5, "flip": True}


@pytest.mark.thorough
@pytest.mark.parametrize("changes", [{}, EVERYTHING, {"precision": "bf16"}, {"precision": "fp16"}])
def test_the_same_seed_gives_the_same_curve(changes):
    recipe = QUICK.model_copy(update=changes)
    assert curve_of(recipe) == curve_of(recipe)


def test_another_seed_gives_another_curve():
    assert curve_of(seed=0) != curve_of(seed=1)


def test_training_leaves_torchs_own_generator_as_it_was():
    network()
    before = torch.get_rng_state()
    fit(copy.deepcopy(model := network()), TRAIN, VALIDATION, QUICK, seed=0)
    torch.set_rng_state(before)
    fit(model, TRAIN, VALIDATION, QUICK, seed=0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.thorough
@pytest.mark.parametrize("optimizer_name", ["adamw", "lamb", "lion", "sgd", "muon"])
@pytest.mark.parametrize("ema", [None, 0.9])
def test_a_resumed_training_equals_one_that_ran_through(optimizer_name, ema):
    recipe = QUICK.model_copy(update={"optimizer": optimizer_name, "ema": ema, "mixup": 0.2})
    states, whole, resumed = [], network(), network()
    curve = fit(whole, TRAIN, VALIDATION, recipe, seed=3, save=lambda state: states.append(copy.deepcopy(state)))
    again = fit(resumed, TRAIN, VALIDATION, recipe, seed=3, state=states[0])
    strip = [e.model_dump(exclude={"seconds", "reading_seconds"}) for e in curve]
    assert [e.model_dump(exclude={"seconds", "reading_seconds"}) for e in again] == strip
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True))


def test_a_callback_that_says_no_ends_the_training_there():
    assert len(fit(network(), TRAIN, VALIDATION, QUICK, seed=0, on_epoch=lambda epoch: epoch.epoch < 2)) == 2


def test_a_loss_that_is_no_number_is_reported_with_epoch_and_step():
    model = network()
    with pytest.raises(Diverged, match=r"loss nan at epoch 1, step 1$"):
        nn.init.constant_(model[-1].bias, math.nan)
        fit(model, TRAIN, VALIDATION, QUICK, seed=0)


def test_a_rate_that_is_far_too_high_diverges():
    wild = QUICK.model_copy(update={"optimizer": "sgd", "lr": 1e30, "clip_grad": None, "epochs": 4})
    with pytest.raises(Diverged):
        fit(network(), TRAIN, VALIDATION, wild, seed=0)


def test_every_training_image_is_seen_once_an_epoch():
    seen = []

    class Spy(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network()

        def forward(self, x):
            if self.training:
                seen.append(len(x))
            return self.inner(x)

    fit(Spy(), TRAIN, VALIDATION, QUICK, seed=0)
    assert sum(seen) == 3 * 70
    assert set(seen) == {14}  # 70 images in five batches of at most 16


def test_fewer_images_than_a_batch_make_one_batch():
    assert num_steps(5, QUICK) == 1


def test_the_learning_rate_rises_in_the_warm_up_and_ends_at_its_smallest():
    recipe = Recipe(epochs=4, warmup_epochs=1.0, min_lr=0.01)
    shares = [lr_share(step, 10, recipe) for step in range(1, 41)]
    assert shares[:10] == pytest.approx([i / 10 for i in range(1, 11)])
    assert shares[24] == pytest.approx((1 + 0.01) / 2)  # half way down the cosine
    assert shares[-1] == pytest.approx(0.01)
    assert all(a > b for a, b in pairwise(shares[9:]))


def test_without_a_warm_up_the_rate_starts_near_its_peak():
    assert lr_share(1, 10, Recipe(epochs=4, warmup_epochs=0)) == pytest.approx(1, abs=0.01)


def test_an_average_without_a_warm_up_hardly_leaves_where_it_began():
    recipe = FullRecipe(**QUICK.model_dump(exclude={"ema", "retry_lr"}), ema=0.9999, ema_warmup=False)
    model, begin = network(), network().state_dict()
    fit(model, TRAIN, VALIDATION, recipe, seed=0)
    rising = network()
    fit(rising, TRAIN, VALIDATION, recipe.model_copy(update={"ema_warmup": True}), seed=0)
    constant, moved = ((net[0].weight - begin["0.weight"]).abs().max().item() for net in (model, rising))
    assert 0 < constant < 0.02 * moved


def test_norms_biases_and_scales_do_not_decay():
    model = network()
    decayed = {id(p) for g in optimizer(model, QUICK).param_groups if g["weight_decay"] for p in g["params"]}
    assert decayed == {id(model[0].weight), id(model[-1].weight)}


def test_without_validation_images_there_is_no_accuracy():
    epoch = fit(network(), TRAIN, None, QUICK.model_copy(update={"epochs": 1, "warmup_epochs": 0}), seed=0)[0]
    assert (epoch.accuracy, epoch.loss) == (None, None)


def test_the_averaged_weights_are_kept_when_there_is_an_average():
    model = network()
    curve = fit(model, TRAIN, VALIDATION, QUICK.model_copy(update={"ema": 0.9}), seed=0)
    assert evaluate(model, VALIDATION, QUICK).accuracy == curve[-1].accuracy


def test_an_evaluation_counts_right_answers_and_means_the_loss():
    class Constant(nn.Module):
        def forward(self, x):
            return torch.tensor([[3.0, 2.0, 1.0, 0.0, -1.0, -2.0]]).expand(len(x), 6)

    labels = np.array([0] * 150 + [1] * 100 + [5] * 50)
    score = evaluate(Constant(), Images(np.zeros((300, 4, 4, 3), np.uint8), labels), QUICK)
    log_sum = math.log(sum(math.exp(v) for v in (3, 2, 1, 0, -1, -2)))
    assert (score.accuracy, score.top5) == (0.5, 250 / 300)
    assert score.loss == pytest.approx(log_sum - (150 * 3 + 100 * 2 - 50 * 2) / 300, rel=1e-5)


def test_bf16_is_taken_on_this_cpu_only_if_it_has_the_instructions():
    flags = torch.cpu.get_capabilities()
    assert computes_in_bf16(torch.device("cpu")) == bool(flags.get("avx512_bf16") or flags.get("amx_bf16"))


def test_an_evaluation_in_parts_gives_the_same_score():
    score = evaluate(normless(), VALIDATION, QUICK)
    assert evaluate(SmallMemory(normless(), room=7), VALIDATION, QUICK) == pytest.approx(score, abs=1e-6)


def test_the_sum_of_an_epochs_losses_can_be_had_from_its_mean():
    epoch = fit(network(), TRAIN, VALIDATION, QUICK, seed=0)[0]
    assert (epoch.steps, epoch.pieces, epoch.retried) == (5, 1, None)


def test_a_training_that_grows_its_images_is_judged_at_full_size():
    sides = []

    class Spy(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = normless()

        def forward(self, x):
            sides.append((self.training, x.shape[-1]))
            return self.inner(x)

    growing = QUICK.model_copy(update={"image_size": (4, 8), "epochs": 3})
    fit(Spy(), TRAIN, VALIDATION, growing, seed=0)
    assert [side for training, side in sides if training] == [4] * 5 + [4] * 5 + [8] * 5
    assert {side for training, side in sides if not training} == {8}


def test_a_factor_on_the_rate_reaches_the_blocks_with_that_mixer_and_no_other(tiny):
    model = build(tiny, image_size=32, num_classes=3)
    mixers = {stage.mixer for stage in tiny.stages}
    slow = sorted(mixers)[0]
    made = optimizer(model, QUICK.model_copy(update={"mixer_lr": {slow: 0.5}}))
    factors = {id(p): group["lr_scale"] for group in made.param_groups for p in group["params"]}
    assert len(factors) == sum(p.requires_grad for p in model.parameters())
    for stage, module in zip(tiny.stages, model.stages, strict=True):
        expected = 0.5 if stage.mixer == slow else 1.0
        assert {factors[id(p)] for p in module.blocks.parameters() if p.requires_grad} == {expected}
    assert {factors[id(p)] for p in [*model.stem.parameters(), *model.head.parameters()]} == {1.0}


def test_a_factor_on_the_rate_changes_the_step_that_is_taken(tiny):
    def moved(factor):
        torch.manual_seed(0)
        model = build(tiny, image_size=8, num_classes=3)
        before = [p.detach().clone() for p in model.stages[0].blocks.parameters()]
        recipe = QUICK.model_copy(update={"mixer_lr": {tiny.stages[0].mixer: factor}, "epochs": 1, "warmup_epochs": 0})
        fit(model, images(8), None, recipe, seed=0)
        return sum(
            float((p.detach() - b).abs().sum()) for p, b in zip(model.stages[0].blocks.parameters(), before, strict=True)
        )

    assert moved(0.01) < 0.1 * moved(1.0)


def test_a_machine_that_cannot_compile_is_told_so(monkeypatch):
    from torch._dynamo.exc import TorchDynamoException

    def failing(model):
        def call(x):
            raise TorchDynamoException("no working C++ compiler")

        return call

    monkeypatch.setattr(torch, "compile", failing)
    with pytest.raises(NasError, match=r"no working C\+\+ compiler.*compile: false"):
        fit(network(), TRAIN, VALIDATION, QUICK.model_copy(update={"compile": True}), seed=0)


@pytest.mark.slow
def test_a_compiled_training_gives_the_curve_of_an_eager_one():
    exact = QUICK.model_copy(update={"precision": "float32"})
    eager = fit(normless(), TRAIN, VALIDATION, exact, seed=0)
    compiled = fit(normless(), TRAIN, VALIDATION, exact.model_copy(update={"compile": True}), seed=0)
    assert [epoch.train_loss for epoch in compiled] == pytest.approx([epoch.train_loss for epoch in eager], abs=1e-3)


def test_a_step_that_fp16_skips_leaves_no_momentum_behind():
    """A fused SGD takes whatever lay in its memory for momentum when its first step is skipped."""
    model, recipe = network(), QUICK.model_copy(update={"optimizer": "sgd", "precision": "fp16"})
    made, scaler = optimizer(model, recipe), torch.amp.GradScaler("cpu")
    scaler.scale(model(torch.full((4, 3, 8, 8), torch.inf)).sum()).backward()
    scaler.step(made)
    assert all(state.get("momentum_buffer") is None for state in made.state.values())


@pytest.mark.parametrize("rank", [0, 1])
def test_every_process_cuts_its_share_into_as_many_parts(monkeypatch, rank):
    """Batch norms of all processes meet at each part: with 9 images one has 5 and the other 4."""
    monkeypatch.setattr(processes, "world", lambda: 2)
    monkeypatch.setattr(processes, "rank", lambda: rank)
    recipe = FullRecipe(image_size=8, epochs=1, batch_size=9, crop_padding=1, warmup_epochs=0.5, device_batch=4)
    (share,) = InMemory(images(9), recipe).epoch(1, seed=0, device=torch.device("cpu"))
    assert [len(part.labels) for part in share.batches] == [[3, 2], [2, 2]][rank]


def test_a_resumed_training_keeps_its_forms_of_operators(monkeypatch):
    """Whatever the machine is faster with by then."""
    monkeypatch.setattr(loop, "forms_here", lambda dtype: ("map_as_product",))
    states = []
    fit(network(), TRAIN, None, QUICK, seed=0, save=lambda state: states.append(copy.deepcopy(state)))
    monkeypatch.setattr(loop, "forms_here", lambda dtype: ())
    resumed = fit(network(), TRAIN, None, QUICK, seed=0, state=states[0])
    assert [epoch.forms for epoch in resumed] == [("map_as_product",)] * QUICK.epochs
    assert fit(network(), TRAIN, None, QUICK, seed=0)[-1].forms == ()
