"""An architecture's proxy training: a learning curve, or the reason why there is none."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save
from torch import Tensor, nn

from nas.callbacks import ignore
from nas.data.manifest import AnyManifest, Images, load_split
from nas.errors import Infeasible, in_one_line
from nas.files import patiently, replacing
from nas.models.metaformer import build
from nas.models.size import check_buildable, is_out_of_memory
from nas.recipes.as_trained import as_trained
from nas.recipes.by_size import at_size
from nas.recipes.recipe import Proxy, Recipe
from nas.space.architecture import Architecture
from nas.space.cost import feature_sides
from nas.space.mixers import positional
from nas.training.checkpoints import Keeper
from nas.training.curve import Epoch, OnEpoch, OnStart, Outcome
from nas.training.loop import Diverged, fit

DIVERGED = "diverged"  # what the cause of a training begins with whose loss was no number


def train_proxy(
    architecture: Architecture,
    recipe: Recipe,
    manifest: AnyManifest,
    *,
    seed: int,
    device: str | torch.device = "cpu",
    on_start: OnStart = ignore,
    on_epoch: OnEpoch = ignore,
    weights: Path | None = None,
    checkpoint: Path | None = None,
    root: Path | None = None,
) -> Outcome:
    """Trains on search-train and validates on search-validation; writes the final weights to `weights` when it is given.

    With a `checkpoint` file it goes on where an earlier call with the same arguments was killed; `on_start` hears which epochs
    were trained then, and may end it there by returning False.

    What the architecture does (a loss that is no number, memory that doesn't suffice, no feature map left at this image
    size) comes back as the outcome's cause; what is wrong with data or disk raises NasError. A training that diverges is
    begun again once with the recipe's `retry_lr`, and each epoch of the second attempt says why.
    """
    load = partial(load_split, manifest, image_size=recipe.full_size, root=root)
    images = _Images(load("train"), load("validation"))
    rungs = recipe.rungs if isinstance(recipe, Proxy) else ()
    keeper = Keeper(checkpoint, _setup(architecture, recipe, manifest, seed), must={*rungs, recipe.epochs})
    before = keeper.checkpointed() or {}
    curve = tuple(Epoch(**epoch) for epoch in before.get("curve", ()))
    if on_start(curve) is False:
        return Outcome(curve=curve, accuracy=None, seconds=before["seconds"])
    candidate = _Candidate(architecture, manifest.class_names, seed=seed)
    train = partial(_attempt, candidate, images, device=device, on_epoch=on_epoch, weights=weights, keeper=keeper)
    return _with_retry(train, recipe, before)


class _Images(NamedTuple):
    """The decoded images of a proxy training."""

    train: Images
    validation: Images


class _Candidate(NamedTuple):
    """What is built for a training, its weights drawn from the seed."""

    architecture: Architecture
    class_names: tuple[str, ...]
    seed: int


def _with_retry(train: Callable[..., Outcome], recipe: Recipe, before: dict[str, Any]) -> Outcome:
    """An attempt, and where that diverges one more at a lower rate; `before` is what a checkpoint holds of either."""
    retried = before.get("retried")
    if retried is None:
        first = train(recipe, before=before, retried=None)
        if recipe.retry_lr is None or first.cause is None or not first.cause.startswith(DIVERGED):
            return first
        retried, before = first.cause, {"seconds": first.seconds}
    assert recipe.retry_lr is not None
    second = train(recipe.model_copy(update={"lr": recipe.lr * recipe.retry_lr}), before=before, retried=retried)
    cause = second.cause and f"{retried}; at {recipe.retry_lr:g} of the rate {second.cause}"
    return second.model_copy(update={"cause": cause})


def _setup(architecture: Architecture, recipe: Recipe, manifest: AnyManifest, seed: int) -> dict[str, Any]:
    """What must be equal for a training to go on; where the data lies may change."""
    settings = recipe.model_dump(mode="json", exclude={"data"})
    return {"key": architecture.key, "recipe": settings, "manifest": manifest.hash, "seed": seed}


def _attempt(
    candidate: _Candidate,
    images: _Images,
    recipe: Recipe,
    *,
    device: str | torch.device,
    on_epoch: OnEpoch,
    weights: Path | None,
    keeper: Keeper,
    before: dict[str, Any],
    retried: str | None,
) -> Outcome:
    """One attempt from the beginning or from what a checkpoint holds of it; its seconds are those of all before it as well."""
    started = time.perf_counter() - before.get("seconds", 0.0)
    curve = [Epoch(**epoch) for epoch in before.get("curve", ())]

    def recorded(epoch: Epoch) -> bool | None:
        curve.append(epoch.model_copy(update={"retried": retried, "unsaved": keeper.trouble}))
        return on_epoch(curve[-1])

    def kept(state: dict[str, Any]) -> None:
        epochs = [{**epoch, "retried": retried} for epoch in state["curve"]]
        content = {"curve": epochs, "state": state, "retried": retried, "seconds": _since(started)}
        keeper.keep(content, epoch=len(epochs))

    state, seed = before.get("state"), candidate.seed
    fitted = partial(fit, seed=seed, device=device, class_names=candidate.class_names)
    try:
        model = fresh_network(candidate.architecture, recipe, num_classes=len(candidate.class_names), seed=seed)
        fitted(model, *images, recipe, on_epoch=recorded, state=state, save=kept)
    except (Diverged, Infeasible, MemoryError, RuntimeError) as error:
        return Outcome(curve=tuple(curve), accuracy=None, seconds=_since(started), cause=cause_of(error))
    finished = len(curve) == recipe.epochs
    outcome = Outcome(curve=tuple(curve), accuracy=curve[-1].accuracy if finished else None, seconds=_since(started))
    if weights is not None and finished:
        patiently(partial(save_weights, model, weights))
    return outcome


def fresh_network(architecture: Architecture, recipe: Recipe, *, num_classes: int, seed: int) -> nn.Module:
    """The network to train, its weights drawn from the seed alone; Infeasible where the images do not suit it."""
    architecture = as_trained(architecture, recipe)
    if recipe.size_at(1) != recipe.full_size and architecture.needs_fixed_resolution:
        raise Infeasible(
            "image_size must be one size for weights that belong to positions, but got "
            f"{[recipe.size_at(1), recipe.full_size]}; give one size, or "
            f"leave {', '.join(positional())} and position_embedding out"
        )
    feature_sides(architecture, image_size=recipe.size_at(1))
    check_buildable(architecture, image_size=recipe.full_size, num_classes=num_classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(
            architecture,
            image_size=recipe.full_size,
            num_classes=num_classes,
            drop_path=at_size(recipe.drop_path, architecture),
            head_dropout=at_size(recipe.head_dropout, architecture),
        )


def cause_of(error: Exception) -> str:
    """A short text for what stopped a training; raises errors that are no fault of the architecture's."""
    text = in_one_line(error, most=10_000)
    if isinstance(error, Diverged):
        return f"{DIVERGED}: {text}"
    if isinstance(error, Infeasible):
        return f"infeasible: {text}"
    if is_out_of_memory(error):
        return f"out of memory: {text[:200]}"
    raise error


def save_weights(model: nn.Module, path: Path) -> None:
    """The weights as safetensors; a half-written file is never seen."""
    with replacing(path) as temporary:
        temporary.write_bytes(save(plain(model.state_dict())))


def plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors on the CPU in C order, as safetensors wants them."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 3)
