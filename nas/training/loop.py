"""The one training loop: a network, images and a recipe into a learning curve, in one process or in many."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from nas.callbacks import ignore
from nas.data.manifest import Images
from nas.devices.forms import forms_here, taking
from nas.errors import NasError, in_one_line
from nas.models.operators import TAKEN
from nas.recipes.recipe import Recipe
from nas.training import processes
from nas.training.batches import Batches, InMemory, Judged, UpdateShare, mixed_seed, own_seed
from nas.training.curve import Epoch, OnEpoch, OnStep, StepProgress, packed_bits
from nas.training.evaluation import Score, arithmetic, evaluate, evaluate_each
from nas.training.optimizer import lr_share
from nas.training.update import Updater

CHECK_EVERY = 16  # steps between two looks at the loss: each one waits for a GPU


class Diverged(Exception):
    """The loss is no longer a number."""

    def __init__(self, loss: float, epoch: int, step: int):
        super().__init__(f"loss {loss} at epoch {epoch}, step {step}")
        self.epoch, self.step = epoch, step


def fit(
    model: nn.Module,
    train: Images | Batches,
    validation: Images | Judged | None,
    recipe: Recipe,
    *,
    seed: int,
    device: str | torch.device = "cpu",
    on_epoch: OnEpoch = ignore,
    on_step: OnStep = ignore,
    state: dict[str, Any] | None = None,
    save: Callable[[dict[str, Any]], None] | None = None,
    class_names: Sequence[str] = (),
) -> list[Epoch]:
    """Trains `model` in place and returns its curve; `on_epoch` ends it early by returning False. Raises Diverged.

    `save` is given everything that a later call needs as `state` to go on from that epoch: tensors and plain values.
    All draws of an epoch depend on (seed, epoch) and the process alone, so that a resumed training equals one that ran through.
    Of several processes (`processes.process_group`) each calls this alike and holds the same weights; `save` and the callbacks
    are called in all of them.
    A teacher that knows more classes than these `class_names` answers for these alone.
    With an EMA in the recipe, the averaged weights are validated and are what `model` holds at the end.
    """
    device = torch.device(device)
    if device.type == "cpu":
        processes.keep_freed_memory()
    train = InMemory(train, recipe) if isinstance(train, Images) else train
    training = _Training(model, recipe, device=device, on_step=on_step, class_names=class_names)
    curve = training.restore(state) if state else []
    generators = torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
    with generators, _compiling(recipe), training.taking_forms(curve):
        for number in range(len(curve) + 1, recipe.epochs + 1):
            curve.append(training.run_epoch(number, train, validation, seed=seed))
            if save is not None:
                save(training.state(curve))
            if on_epoch(curve[-1]) is False:
                break
    training.finish()
    return curve


@contextmanager
def _compiling(recipe: Recipe) -> Iterator[None]:
    """Turns what torch.compile has to say of this machine into a NasError."""
    if not recipe.compile:
        yield
        return
    from torch._dynamo.exc import TorchDynamoException

    try:
        yield
    except TorchDynamoException as error:
        why = in_one_line(error)
        raise NasError(f"compile: torch.compile can't do its work here: {why}. Mend this, or set compile: false.") from None


class _Training:
    """A network with what lives as long as its training: updates, averaged weights, arithmetic."""

    def __init__(
        self, model: nn.Module, recipe: Recipe, *, device: torch.device, on_step: OnStep, class_names: Sequence[str] = ()
    ):
        self.recipe, self.device, self.on_step = recipe, device, on_step
        layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
        self.model = model.to(device).to(memory_format=layout)
        self.ema = ModelEmaV3(self.model, decay=recipe.ema, use_warmup=True) if recipe.ema else None
        self.updater = Updater(self.model, recipe, device=device, class_names=class_names)
        self.reading_seconds = 0.0  # of the epoch that runs
        self.forms: tuple[str, ...] | None = None  # of operators

    @property
    def measured(self) -> nn.Module:
        """The network that is validated and kept."""
        return self.ema.module if self.ema else self.model

    def taking_forms(self, curve: Sequence[Epoch]) -> AbstractContextManager[None]:
        """Operators on a CPU take the forms that it is fastest with; a resumed training those that it began with."""
        dtype = arithmetic(self.device, self.recipe)
        if self.device.type != "cpu" or dtype not in TAKEN:
            return nullcontext()
        self.forms = curve[-1].forms if curve else processes.of_first(lambda: forms_here(dtype))
        return nullcontext() if self.forms is None else taking(self.forms, dtype)

    def run_epoch(self, number: int, train: Batches, validation: Images | Judged | None, *, seed: int) -> Epoch:
        started, steps = time.perf_counter(), train.steps
        torch.manual_seed(own_seed(mixed_seed(seed, number)))  # drop path and dropout draw from torch's own generator
        self.reading_seconds = 0.0
        train_loss = self._train(number, train, seed=seed)
        for model in [self.model] if self.ema is None else [self.model, self.ema.module]:
            processes.align(model)
        score, raw, right = self._validated(validation)
        is_last = number == self.recipe.epochs
        if score is not None and not math.isfinite(score.loss):
            raise Diverged(score.loss, number, steps)
        return Epoch(
            epoch=number,
            accuracy=None if score is None else score.accuracy,
            loss=None if score is None else score.loss,
            top5=None if score is None else score.top5,
            raw_accuracy=None if raw is None else raw.accuracy,
            raw_top5=None if raw is None else raw.top5,
            train_loss=train_loss,
            lr=self._lr(number * steps, steps),
            seconds=round(time.perf_counter() - started, 3),
            reading_seconds=round(self.reading_seconds, 3),
            steps=steps,
            pieces=self.updater.pieces,
            forms=self.forms,
            right=packed_bits(right) if is_last and right is not None and not self.recipe.validates_raw else None,
        )

    def _validated(self, validation: Images | Judged | None) -> tuple[Score | None, Score | None, np.ndarray | None]:
        """The score of what is kept, that of the weights as they are if the recipe asks for it beside, and what was right."""
        if validation is None:
            return None, None, None
        score, right = evaluate_each(self.measured, validation, self.recipe, device=self.device)
        if self.ema is None or not self.recipe.validates_raw:
            return score, None, right
        return score, evaluate(self.model, validation, self.recipe, device=self.device), right

    def _lr(self, position: int, steps: int) -> float:
        return self.recipe.lr * lr_share(position, steps, self.recipe)

    def _train(self, number: int, train: Batches, *, seed: int) -> float:
        """One pass over the training images; the mean loss."""
        self.model.train()
        fresh: list[Tensor] = []
        checked: list[Tensor] = []
        images, steps = 0, train.steps
        for step, share in enumerate(self._read(train.epoch(number, seed=seed, device=self.device)), start=1):
            position = (number - 1) * steps + step
            fresh.append(self.updater.update(share, lr=self._lr(position, steps), is_first=step == 1))
            images += share.num_images
            if self.ema:
                self.ema.update(self.model, step=position if self.recipe.ema_rises else None)
            if step % CHECK_EVERY == 0 or step == steps:
                losses = processes.averaged(torch.stack(fresh))
                _check(losses, number, step - len(fresh))
                self.on_step(StepProgress(number, step, steps, float(losses.mean()), self._lr(position, steps), images))
                checked, fresh = [*checked, losses], []
        return float(torch.cat(checked).mean())

    def _read(self, shares: Iterator[UpdateShare]) -> Iterator[UpdateShare]:
        """The shares, and how long each was waited for."""
        while True:
            began = time.perf_counter()
            share = next(shares, None)
            self.reading_seconds += time.perf_counter() - began
            if share is None:
                return
            yield share

    def state(self, curve: list[Epoch]) -> dict[str, Any]:
        """Tensors and plain values, so that it loads without pickle."""
        return {
            "model": self.model.state_dict(),
            **self.updater.state(),
            "ema": self.ema.module.state_dict() if self.ema else None,
            "curve": [epoch.model_dump() for epoch in curve],
        }

    def restore(self, state: dict[str, Any]) -> list[Epoch]:
        self.model.load_state_dict(state["model"])
        if self.ema:
            self.ema.module.load_state_dict(state["ema"])
        curve = [Epoch(**epoch) for epoch in state["curve"]]
        self.updater.restore(state, pieces=curve[-1].pieces)
        return curve

    def finish(self) -> None:
        if self.ema:
            self.model.load_state_dict(self.ema.module.state_dict())
        self.model.eval()


def _check(losses: Tensor, epoch: int, before: int) -> None:
    """Raises Diverged at the first loss that is not finite; `before` steps of the epoch came before these."""
    for step, loss in enumerate(losses.tolist(), start=before + 1):
        if not math.isfinite(loss):
            raise Diverged(loss, epoch, step)
