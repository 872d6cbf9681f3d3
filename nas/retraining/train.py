"""A chosen architecture trained in full, resumable, in one process or in many, and evaluated once on the test split."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
from timm.optim import list_optimizers
from torch import nn

from nas import __version__
from nas.callbacks import ignore
from nas.config.values import Value
from nas.data.decoding import OnDecoded
from nas.data.manifest import Manifest
from nas.errors import ConfigError, NasError, in_one_line, unknown
from nas.files import write_whole
from nas.models.size import is_out_of_memory
from nas.recipes.as_trained import as_trained
from nas.recipes.full import FullRecipe
from nas.retraining.data import FullData, data_of, manifest_of
from nas.retraining.folder import Result, RetrainingFolder, setup_of
from nas.retraining.views import policy_of
from nas.space.architecture import Architecture
from nas.training import processes
from nas.training.curve import Epoch, OnEpoch, OnStep
from nas.training.distillation.loss import loss_of
from nas.training.evaluation import evaluate
from nas.training.loop import Diverged, fit
from nas.training.optimizer import optimizer
from nas.training.proxy import fresh_network
from nas.training.trained import load_initial, read_weights


class Unstable(NasError):
    """A training whose loss is no longer a number: the architecture's or the recipe's doing, not the machine's."""


class Beginning(NamedTuple):
    """What a training begins with."""

    train_images: int
    """In an epoch."""
    held_out_images: int
    test_images: int
    epochs_done: int
    """Before an interruption."""
    remarks: tuple[str, ...] = ()
    """What the recipe's settings by size come to, and what there is to mind about the images, a line each."""


OnBegin = Callable[[Beginning], None]
OnRemark = Callable[[str], None]
"""Told what happens to a training from outside, such as lost workers, in a sentence."""


class Job(Value):
    """One full training as a value that another process can be sent."""

    architecture: Architecture
    recipe: FullRecipe
    out: Path
    seed: int = 0
    device: str = "auto"
    origin: dict[str, Any] = {}  # noqa: RUF012 (frozen)
    """Where the architecture was found, such as its run and trial; kept beside the weights for whoever asks later."""


class Listener(NamedTuple):
    """Who hears how a training goes."""

    on_decoded: OnDecoded = ignore
    on_begin: OnBegin = ignore
    on_step: OnStep = ignore
    on_epoch: OnEpoch = ignore
    on_remark: OnRemark = ignore


SILENT = Listener()


def run(job: Job, listener: Listener = SILENT) -> Result:
    """Does a job in this process, together with those that its launcher started beside it."""
    device = processes.own_device(job.device)
    with processes.process_group(device):
        manifest = processes.of_first(partial(manifest_of, job.recipe, seed=job.seed, on_decoded=listener.on_decoded))
        result = retrain_network(
            job.architecture, job.recipe, manifest, out=job.out, seed=job.seed, device=device, listener=listener
        )
        if job.origin and processes.rank() == 0:
            write_whole(job.out / "origin.json", json.dumps(job.origin))
        return result


def retrain_network(
    architecture: Architecture,
    recipe: FullRecipe,
    manifest: Manifest,
    *,
    out: Path,
    seed: int = 0,
    device: str | torch.device = "cpu",
    listener: Listener = SILENT,
    root: Path | None = None,
) -> Result:
    """Trains on the manifest's training images and writes everything to `out`; the first of several processes writes.

    A call that was cut short goes on from its last epoch; a finished one is read back; another setup in the same `out` is
    refused. What the listener answers is not asked for.
    """
    choice = checked(recipe).choice_by_size(architecture)
    recipe = recipe.for_network(architecture)
    architecture = as_trained(architecture, recipe)  # what is written down is what is trained
    folder = RetrainingFolder(out, setup_of(architecture, recipe, manifest, seed))
    processes.of_first(folder.refuse_others)
    if (before := processes.of_first(folder.result)) is not None:
        return before
    data = data_of(manifest, recipe, unreadable=folder.unreadable, root=root)
    model = _able(architecture, recipe, manifest, folder)  # or its error, before anything is written
    with folder.alone() if processes.rank() == 0 else nullcontext():
        result = processes.of_first(folder.result)
        if result is not None:
            return result
        notes = (*([choice] if choice else []), *manifest.remarks)
        return _retrain(model, data, architecture, recipe, manifest, folder, device=device, listener=listener, remarks=notes)


def _able(architecture: Architecture, recipe: FullRecipe, manifest: Manifest, folder: RetrainingFolder) -> nn.Module:
    """The network as its training begins with it; NasError where it can't: too large, without its first weights or teacher."""
    model = fresh_network(architecture, recipe, num_classes=len(manifest.class_names), seed=folder.setup["seed"])
    has_begun = processes.of_first(folder.state) is not None
    if recipe.weights is not None and not has_begun:
        load_initial(model, recipe.weights)
    if recipe.distillation is not None:
        loss_of(recipe, model, device=torch.device("cpu"), class_names=manifest.class_names)
    return model


def _retrain(
    model: nn.Module,
    data: FullData,
    architecture: Architecture,
    recipe: FullRecipe,
    manifest: Manifest,
    folder: RetrainingFolder,
    *,
    device: str | torch.device,
    listener: Listener,
    remarks: tuple[str, ...],
) -> Result:
    """A training that has not ended, in a folder of its own."""
    state = processes.of_first(folder.state)
    if processes.rank() == 0:
        folder.write_setup(architecture, recipe, manifest)
    held_out = 0 if data.validation is None else data.validation.num_images
    done = len(state["curve"]) if state else 0
    listener.on_begin(Beginning(data.train.num_images, held_out, data.test.num_images, done, remarks))
    names = manifest.class_names
    curve = _train(model, data, recipe, class_names=names, folder=folder, state=state, device=device, listener=listener)
    return _finish(model, data, recipe, curve, folder=folder, device=torch.device(device))


def checked(recipe: FullRecipe) -> FullRecipe:
    """The recipe, if timm has its optimiser and can read its augmentation."""
    if recipe.optimizer not in list_optimizers():
        raise ConfigError(f"optimizer: {unknown('optimizer', recipe.optimizer, list_optimizers())}")
    _try_optimizer(recipe)
    if recipe.loader is not None:
        policy_of(recipe.loader, recipe.full_size)
    return recipe


def _try_optimizer(recipe: FullRecipe) -> None:
    """ConfigError where the optimiser makes no step here: some need CUDA, a package, or more of the loss than a gradient."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2)).to(device)
    try:
        steps = optimizer(network, recipe)
        network(torch.ones(1, 3, 3, 3, device=device)).sum().backward()
        steps.step()
    except Exception as error:  # timm's optimisers raise anything
        raise ConfigError(
            f"optimizer: must be one that can be used on this machine, but {recipe.optimizer} can't: {in_one_line(error)}. "
            "Choose another, such as adamw."
        ) from None


def _train(
    model: nn.Module,
    data: FullData,
    recipe: FullRecipe,
    *,
    class_names: tuple[str, ...],
    folder: RetrainingFolder,
    state: dict[str, Any] | None,
    device: str | torch.device,
    listener: Listener,
) -> list[Epoch]:
    """The whole curve; after each epoch a checkpoint, the best weights and `curve.csv` lie in the folder."""
    curve = [Epoch(**epoch) for epoch in state["curve"]] if state else []

    def save(state: dict[str, Any]) -> None:
        if processes.rank() == 0:
            epochs = [Epoch(**epoch) for epoch in state["curve"]]
            if best_epoch(epochs) == len(epochs):
                folder.write_weights(folder.best, state["ema"] or state["model"])
            folder.save(state)

    def kept(epoch: Epoch) -> None:
        curve.append(epoch)
        if processes.rank() == 0:
            folder.write_curve(curve)
        listener.on_epoch(epoch)

    with _explained(folder, recipe):
        fitted = partial(fit, seed=folder.setup["seed"], device=device, state=state, class_names=class_names)
        sets = data.train, data.validation
        return fitted(model, *sets, recipe, on_epoch=kept, on_step=listener.on_step, save=save)


@contextmanager
def _explained(folder: RetrainingFolder, recipe: FullRecipe) -> Iterator[None]:
    """Turns what can end a training into a NasError that names its folder and the way out."""
    try:
        yield
    except Diverged as error:
        way_out = f"Lower lr={recipe.lr}, or set clip_grad."
        raise Unstable(f"{folder.root}: the training diverged: {error}. {way_out}") from None
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        why = in_one_line(error, most=200)
        raise NasError(f"{folder.root}: memory doesn't suffice: {why}. Lower device_batch (--set device_batch=64).") from None


def best_epoch(curve: list[Epoch]) -> int | None:
    """The first epoch with the highest accuracy on the held-out images; None where none are held out."""
    accuracies = {epoch.epoch: epoch.accuracy for epoch in curve if epoch.accuracy is not None}
    return max(accuracies, key=accuracies.__getitem__, default=None)


def _finish(
    model: nn.Module,
    data: FullData,
    recipe: FullRecipe,
    curve: list[Epoch],
    *,
    folder: RetrainingFolder,
    device: torch.device,
) -> Result:
    """Writes the weights that are kept, and looks at the test images."""
    kept = best_epoch(curve) if recipe.keep == "best" else len(curve)
    assert kept is not None, "a recipe that keeps the best holds images out"
    if kept < len(curve):
        model.load_state_dict(processes.of_first(partial(read_weights, folder.best)))
    if processes.rank() == 0:
        folder.write_weights(folder.weights, model.state_dict())
    score = evaluate(model, data.test, recipe, device=device)
    result = Result(
        **score._asdict(),
        train_images=data.train.num_images,
        test_images=data.test.num_images,
        epochs=len(curve),
        kept_epoch=kept,
        seconds=round(sum(epoch.seconds for epoch in curve), 2),
        device=device_name(device),
        processes=processes.world(),
        versions={"nas": __version__, "torch": torch.__version__, "timm": timm.__version__},
        setup=folder.setup,
    )
    if processes.rank() == 0:
        folder.write_result(result)
    return result


def device_name(device: str | torch.device) -> str:
    """The device in words, such as "cpu (AMD EPYC, 1 thread)" or a graphics card's name."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = torch.cpu.get_capabilities().get("cpu_name", "unknown")
    return f"{device.type} ({name}, {torch.get_num_threads()} thread{'s' if torch.get_num_threads() > 1 else ''})"
