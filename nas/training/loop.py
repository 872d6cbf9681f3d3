"""The one training loop: a network, images and a recipe into a learning curve, in one process or in many."""

import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from nas.callbacks import ignore
from nas.data.manifest import Images
from nas.devices.forms import forms_here, taking
from nas.errors import NasError, in_one_line
from nas.models.norms import TokenBatchNorm
from nas.models.operators import TAKEN
from nas.models.size import is_out_of_memory
from nas.recipes.recipe import Recipe
from nas.training import processes
from nas.training.batches import Batches, InMemory, Judged, UpdateShare, mixed_seed, own_seed
from nas.training.curve import Epoch, OnEpoch, OnStep, StepProgress, packed_bits
from nas.training.distillation.loss import loss_of
from nas.training.evaluation import Score, arithmetic, autocast, evaluate, evaluate_each
from nas.training.loss import Batch, Forward
from nas.training.optimizer import lr_share, optimizer

CHECK_EVERY = 16  # steps between two looks at the loss: each one waits for a GPU
SMALLEST_PIECE = 2  # images: batch norm has nothing to norm by in one


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


class _PassState:
    """A network's running statistics and torch's draws, as they were before a pass."""

    def __init__(self, model: nn.Module, device: torch.device):
        norms = [module for module in model.modules() if isinstance(module, _NormBase)]
        self._statistics: list[Tensor] = [buffer for norm in norms for buffer in norm.buffers()]
        self._before = [buffer.clone() for buffer in self._statistics]
        self._device = device
        self.keep()

    def keep(self) -> None:
        """From here on this is what `restore` brings back."""
        for copy, buffer in zip(self._before, self._statistics, strict=True):
            copy.copy_(buffer)
        self._draws = torch.get_rng_state()
        self._draws_on_card = torch.cuda.get_rng_state(self._device) if self._device.type == "cuda" else None

    def restore(self) -> None:
        """As if no pass had been begun."""
        for buffer, copy in zip(self._statistics, self._before, strict=True):
            buffer.copy_(copy)
        torch.set_rng_state(self._draws)
        if self._draws_on_card is not None:
            torch.cuda.set_rng_state(self._draws_on_card, self._device)


class _Training:
    """A network with what lives as long as its training: optimiser, averaged weights, arithmetic."""

    def __init__(
        self, model: nn.Module, recipe: Recipe, *, device: torch.device, on_step: OnStep, class_names: Sequence[str] = ()
    ):
        self.recipe, self.device, self.on_step = recipe, device, on_step
        layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
        self.model = model.to(device).to(memory_format=layout)
        self.optimizer = optimizer(self.model, recipe)
        self.ema = ModelEmaV3(self.model, decay=recipe.ema, use_warmup=True) if recipe.ema else None
        self.loss = loss_of(recipe, self.model, device=device, class_names=class_names)
        self.parallel = _in_parallel(self.model, device) if processes.world() > 1 else None
        trained = self.parallel or self.model
        self.trained: Forward = torch.compile(trained) if recipe.compile else trained
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
        self.pieces = 1
        self.reading_seconds = 0.0  # of the epoch that runs
        self.forms: tuple[str, ...] | None = None  # of operators
        self.before = _PassState(self.model, device)
        # where others wait in the middle of a pass, none can begin it again
        self.meets_inside = any(isinstance(module, nn.SyncBatchNorm) for module in self.model.modules())

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
            pieces=self.pieces,
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
            for group in self.optimizer.param_groups:
                group["lr"] = group["lr_scale"] * self._lr(position, steps)
            fresh.append(self._step(share, is_first=step == 1))
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

    def _step(self, share: UpdateShare, *, is_first: bool) -> Tensor:
        """One update of the weights; `is_first` of an epoch, in which several processes find out together what fits."""
        if self.parallel is None:
            while (loss := self._gradients(share)) is None:
                self._halve()
        else:
            loss = self._gradients_of_all(share) if is_first else self._gradients_in_step(share)
        if self.recipe.clip_grad:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_grad)
        try:
            self.scaler.step(self.optimizer)
        except (MemoryError, RuntimeError) as error:  # its state comes to the gradients and what the pass has left behind
            if not is_out_of_memory(error):
                raise
            self._halve()
            self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss

    def _halve(self) -> None:
        self.pieces *= 2
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _gradients(self, share: UpdateShare) -> Tensor | None:
        """The loss of this process's share, its gradient added up by pieces; None where smaller ones may fit into memory."""
        self.before.keep()
        try:
            return self._added_up(share, keep_apart=True)
        except (MemoryError, RuntimeError) as error:
            smallest = min(len(batch.labels) for batch in share.batches)
            if not is_out_of_memory(error) or self.meets_inside or smallest < 2 * self.pieces * SMALLEST_PIECE:
                raise
            self.optimizer.zero_grad()
            self.before.restore()
            return None

    def _gradients_of_all(self, share: UpdateShare) -> Tensor:
        """The same with several processes, which halve their pieces together; their gradients are averaged at the end."""
        while True:
            loss = self._gradients(share)
            if processes.summed(torch.tensor(float(loss is None), device=self.device)) == 0:
                break
            self.before.restore()
            self._halve()
        assert loss is not None, "nobody's memory was too small"
        for parameter in self.model.parameters():
            if parameter.grad is not None:
                parameter.grad.copy_(processes.averaged(parameter.grad))
        return loss

    def _gradients_in_step(self, share: UpdateShare) -> Tensor:
        """The same in pieces that are known to fit, averaged with the other processes' while they are computed."""
        return self._added_up(share, keep_apart=False)

    def _added_up(self, share: UpdateShare, *, keep_apart: bool) -> Tensor:
        self.optimizer.zero_grad()
        pieces = [piece for batch in share.batches for piece in batch.pieces(self.pieces)]
        whole = share.num_images / processes.world()  # DistributedDataParallel takes the mean over the processes
        losses = [self._piece(piece, whole, keep_apart=keep_apart or piece is not pieces[-1]) for piece in pieces]
        return torch.stack(losses).sum()

    def _piece(self, piece: Batch, whole: float, *, keep_apart: bool) -> Tensor:
        """One piece's loss, its gradient added to what is there; until it isn't kept apart it stays in this process."""
        with self.parallel.no_sync() if self.parallel is not None and keep_apart else nullcontext():
            with autocast(self.device, self.recipe):
                loss = self.loss(self.trained, piece) * (piece.weight * len(piece.labels) / whole)
            self.scaler.scale(loss).backward()
        return loss.detach()

    def state(self, curve: list[Epoch]) -> dict[str, Any]:
        """Tensors and plain values, so that it loads without pickle."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "ema": self.ema.module.state_dict() if self.ema else None,
            "curve": [epoch.model_dump() for epoch in curve],
        }

    def restore(self, state: dict[str, Any]) -> list[Epoch]:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        if self.ema:
            self.ema.module.load_state_dict(state["ema"])
        curve = [Epoch(**epoch) for epoch in state["curve"]]
        self.pieces = curve[-1].pieces
        return curve

    def finish(self) -> None:
        if self.ema:
            self.model.load_state_dict(self.ema.module.state_dict())
        self.model.eval()


def _in_parallel(model: nn.Module, device: torch.device) -> nn.parallel.DistributedDataParallel:
    """The network whose backward pass averages the gradients of all processes; batch norms of a GPU see the whole batch."""
    # a 1x1 convolution's weights have two layouts that are one
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    if device.type == "cuda":
        model = synchronised(model)
    return nn.parallel.DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)


class _TokenSyncBatchNorm(nn.SyncBatchNorm):
    """Batch norm of `(B, N, C)` over the batch of all processes."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)  # (B, C, N) and back


def synchronised(model: nn.Module) -> nn.Module:
    """The network with batch norms that see the whole batch of all processes; torch's conversion forgets the token layout."""
    tokens = [name for name, module in model.named_modules() if isinstance(module, TokenBatchNorm)]
    model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for name in tokens:
        model.get_submodule(name).__class__ = _TokenSyncBatchNorm
    return model


def _check(losses: Tensor, epoch: int, before: int) -> None:
    """Raises Diverged at the first loss that is not finite; `before` steps of the epoch came before these."""
    for step, loss in enumerate(losses.tolist(), start=before + 1):
        if not math.isfinite(loss):
            raise Diverged(loss, epoch, step)
