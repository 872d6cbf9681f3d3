"""What moves the weights: timm's optimiser of a recipe, and its rate at each step."""

import math
from typing import Any

import torch
from timm.optim import create_optimizer_v2
from torch import Tensor, nn

from nas.models.mixers import mixer_class
from nas.recipes.recipe import Recipe
from nas.space.mixers import MIXERS

FUSED = ("adamw", "sgd")  # torch's own; fused AdamW is 1 to 13 % of a training step faster on CPU, more on a GPU


def lr_share(step: int, steps_per_epoch: int, recipe: Recipe) -> float:
    """Learning rate over its peak at a step counted from 1: a line up in the warm-up, then a cosine down to `min_lr`."""
    if recipe.course == "timm":
        return _timms_share(step - 1, steps_per_epoch, recipe)
    if recipe.course == "timm_by_epoch":
        return _timms_share((step - 1) // steps_per_epoch, 1, recipe)
    warmup, total = recipe.warmup_epochs * steps_per_epoch, recipe.annealed_epochs * steps_per_epoch
    if step <= warmup:
        return recipe.first_lr + (1 - recipe.first_lr) * (step / warmup)
    done = min(1.0, (step - warmup) / max(1.0, total - warmup))
    return recipe.min_lr + (1 - recipe.min_lr) * (1 + math.cos(math.pi * done)) / 2


def _timms_share(position: int, epoch: int, recipe: Recipe) -> float:
    """The rate of timm's CosineLRScheduler over its peak at a position counted from 0, of which an epoch has so many.

    The first update is made at position 0, with the rate of the warm-up's start: timm's training steps its scheduler behind it.
    """
    warmup, total = recipe.warmup_epochs * epoch, recipe.annealed_epochs * epoch
    if position < warmup:
        return recipe.first_lr + (1 - recipe.first_lr) * (position / warmup)
    cosine = math.cos(math.pi * min(position, total) / total)
    return recipe.min_lr + (1 - recipe.min_lr) * (1 + cosine) / 2


def optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """timm's optimiser of that name; timm leaves biases, norms and scales (one dimension) out of the weight decay.

    Each of its groups has its factor on the learning rate under timm's name for it, `lr_scale`.
    """
    skips = recipe.precision == "fp16"  # a step whose gradients overflowed: a fused SGD's momentum would be what memory held
    fused = {"fused": True} if recipe.optimizer in FUSED and not (skips and recipe.optimizer == "sgd") else {}
    made = create_optimizer_v2(model, opt=recipe.optimizer, lr=recipe.lr, weight_decay=recipe.weight_decay, **fused)
    factors = _lr_factors(model, recipe)
    made.param_groups = [part for group in made.param_groups for part in _by_factor(group, factors)]
    return made


def _by_factor(group: dict[str, Any], factors: dict[Tensor, float]) -> list[dict[str, Any]]:
    """A group of an optimiser in one part for each factor on the learning rate."""
    parts: dict[float, list[Tensor]] = {}
    for weight in group["params"]:
        parts.setdefault(factors.get(weight, 1.0), []).append(weight)
    return [{**group, "params": weights, "lr_scale": factor} for factor, weights in parts.items()]


def _lr_factors(model: nn.Module, recipe: Recipe) -> dict[Tensor, float]:
    """By weight of a block whose token mixer the recipe names, the factor on its learning rate."""
    kinds = {mixer_class(name, MIXERS[name].plugin): factor for name, factor in recipe.mixer_lr.items()}
    blocks = [(block, type(getattr(block, "token_mixer", None))) for block in model.modules()]
    return {weight: kinds[kind] for block, kind in blocks if kind in kinds for weight in block.parameters()}
