"""One update of a network's weights: its images in pieces that fit into memory, its gradients those of all processes."""

import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from nas.models.norms import TokenBatchNorm
from nas.models.size import is_out_of_memory
from nas.recipes.recipe import Recipe
from nas.training import processes
from nas.training.batches import UpdateShare
from nas.training.distillation.loss import loss_of
from nas.training.evaluation import autocast
from nas.training.loss import Batch, Forward
from nas.training.optimizer import optimizer

SMALLEST_PIECE = 2  # images: batch norm has nothing to norm by in one


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


class Updater:
    """Updates the weights of `model`, which lies on the device; where memory is too small, from then on in smaller pieces."""

    def __init__(self, model: nn.Module, recipe: Recipe, *, device: torch.device, class_names: Sequence[str] = ()):
        self.model, self.recipe, self.device = model, recipe, device
        self.optimizer = optimizer(model, recipe)
        self.loss = loss_of(recipe, model, device=device, class_names=class_names)
        self.parallel = _in_parallel(model, device) if processes.world() > 1 else None
        trained = self.parallel or model
        self.trained: Forward = torch.compile(trained) if recipe.compile else trained
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
        self.pieces = 1
        self.before = _PassState(model, device)
        # where others wait in the middle of a pass, none can begin it again
        self.meets_inside = any(isinstance(module, nn.SyncBatchNorm) for module in model.modules())

    def update(self, share: UpdateShare, *, lr: float, is_first: bool) -> Tensor:
        """One update from these images, and its loss; in an epoch's first, processes find out together what fits."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["lr_scale"] * lr
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

    def state(self) -> dict[str, Any]:
        """Tensors and plain values."""
        return {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}

    def restore(self, state: dict[str, Any], *, pieces: int) -> None:
        """As it was when it gave that state, after updates in so many pieces."""
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        self.pieces = pieces


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
