"""The one training loop: a network, images and a recipe into a learning curve."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from timm.optim import create_optimizer_v2
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.nn import functional

from nas.config import Value
from nas.errors import NasError
from nas.models.mixers import MIXERS
from nas.training.augment import augment, normalised
from nas.training.data import Images
from nas.training.distill import loss_of
from nas.training.loss import Batch
from nas.training.recipe import Recipe

FUSED = ("adamw", "sgd")  # torch's own; fused AdamW is 1 to 13 % of a training step faster on CPU, more on a GPU
CHECK_EVERY = 16  # steps between two looks at the loss: each one waits for a GPU
EVALUATION_BATCH = 256
SMALLEST_PIECE = 2  # images: batch norm has nothing to norm by in one
ALLOCATION_SIGNS = ("out of memory", "can't allocate memory", "could not allocate", "CUBLAS_STATUS_ALLOC_FAILED")


class Epoch(Value):
    """What one epoch gave."""

    epoch: int
    """Counted from 1."""
    accuracy: float | None
    """Top-1 on the validation images as a fraction; None without validation images."""
    loss: float | None
    """Mean cross-entropy on the validation images, without smoothing."""
    train_loss: float
    """Mean over the epoch's steps, with augmentation and smoothing; with a teacher's share where the recipe has one. Times
    `steps` it is the sum by which arXiv:2006.04492 ranks architectures."""
    lr: float
    """At the epoch's last step."""
    seconds: float
    """Training and validation together."""
    steps: int
    """Updates of the weights."""
    pieces: int = 1
    """Parts that a batch was cut into because memory did not suffice for it whole; their gradients are added up."""
    retried: str | None = None
    """Why the training was begun again at a lower rate; None at the first attempt."""


class Diverged(Exception):
    """The loss is no longer a number."""

    def __init__(self, loss: float, epoch: int, step: int):
        super().__init__(f"loss {loss} at epoch {epoch}, step {step}")
        self.epoch, self.step = epoch, step


class Score(NamedTuple):
    """An evaluation: fractions of the images, and the mean cross-entropy."""

    accuracy: float
    top5: float
    loss: float


OnEpoch = Callable[[Epoch], bool | None]


def keep_going(epoch: Epoch) -> bool:
    """Stops no training."""
    return True


def fit(
    model: nn.Module,
    train: Images,
    validation: Images | None,
    recipe: Recipe,
    *,
    seed: int,
    device: str | torch.device = "cpu",
    on_epoch: OnEpoch = keep_going,
    state: dict[str, Any] | None = None,
    save: Callable[[dict[str, Any]], None] | None = None,
) -> list[Epoch]:
    """Trains `model` in place and returns its curve; `on_epoch` ends it early by returning False. Raises Diverged.

    `save` is given everything that a later call needs as `state` to go on from that epoch: tensors and plain values.
    All draws of an epoch hang on (seed, epoch) alone, so that a resumed training equals one that ran through.
    With an EMA in the recipe, the averaged weights are validated and are what `model` holds at the end.
    """
    training = _Training(model, recipe, device=torch.device(device))
    curve = training.restore(state) if state else []
    generators = torch.random.fork_rng(devices=[training.device] if training.device.type == "cuda" else [])
    with generators, _compiling(recipe):
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
        why = " ".join(str(error).split())[:300]
        raise NasError(f"compile: torch.compile can't do its work here: {why}. Mend this, or set compile: false.") from None


class _Training:
    """A network with what lives as long as its training: optimiser, averaged weights, arithmetic."""

    def __init__(self, model: nn.Module, recipe: Recipe, *, device: torch.device):
        self.recipe, self.device = recipe, device
        layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
        self.model = model.to(device=device, memory_format=layout)
        self.optimizer = optimizer(self.model, recipe)
        self.ema = ModelEmaV3(self.model, decay=recipe.ema, use_warmup=True) if recipe.ema else None
        self.loss = loss_of(recipe, self.model, device=device)
        self.trained = torch.compile(self.model) if recipe.compile else self.model
        self.pieces = 1

    @property
    def measured(self) -> nn.Module:
        """The network that is validated and kept."""
        return self.ema.module if self.ema else self.model

    def run_epoch(self, number: int, train: Images, validation: Images | None, *, seed: int) -> Epoch:
        started, steps = time.perf_counter(), num_steps(len(train.labels), self.recipe)
        torch.manual_seed(_mixed_seed(seed, number))  # drop path and dropout draw from torch's own generator
        train_loss = self._train(number, train, steps, seed=seed)
        score = evaluate(self.measured, validation, self.recipe, device=self.device) if validation is not None else None
        if score is not None and not math.isfinite(score.loss):
            raise Diverged(score.loss, number, steps)
        return Epoch(
            epoch=number,
            accuracy=score and score.accuracy,
            loss=score and score.loss,
            train_loss=train_loss,
            lr=self.recipe.lr * lr_share(number * steps, steps, self.recipe),
            seconds=round(time.perf_counter() - started, 3),
            steps=steps,
            pieces=self.pieces,
        )

    def _train(self, number: int, train: Images, steps: int, *, seed: int) -> float:
        """One pass over the training images; the mean loss."""
        self.model.train()
        losses, checked = [], 0
        for step, batch in enumerate(self._batches(number, train, steps, seed=_mixed_seed(seed, number)), start=1):
            position = (number - 1) * steps + step
            for group in self.optimizer.param_groups:
                group["lr"] = self.recipe.lr * group["lr_scale"] * lr_share(position, steps, self.recipe)
            losses.append(self._step(batch))
            if self.ema:
                self.ema.update(self.model, step=position)
            if step % CHECK_EVERY == 0 or step == steps:
                _check(losses[checked:], number, checked)
                checked = step
        return float(torch.stack(losses).mean())

    def _batches(self, number: int, train: Images, steps: int, *, seed: int) -> Iterator[Batch]:
        generator, size = torch.Generator(self.device).manual_seed(seed), self.recipe.size_at(number)
        order = torch.randperm(len(train.labels), generator=torch.Generator().manual_seed(seed))
        for chosen in order.tensor_split(steps):
            pixels, labels = (torch.from_numpy(part[chosen.numpy()]).to(self.device) for part in train)
            mixed = augment(pixels, self.recipe, image_size=size, generator=generator)
            yield Batch(*mixed, labels, partners=labels.flip(0))

    def _step(self, batch: Batch) -> Tensor:
        while (loss := self._gradients(batch)) is None:
            self.pieces *= 2
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        if self.recipe.clip_grad:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_grad)
        self.optimizer.step()
        return loss

    def _gradients(self, batch: Batch) -> Tensor | None:
        """The batch's loss, its gradient added up piece by piece; None where smaller pieces may fit into memory."""
        self.optimizer.zero_grad()
        try:
            return torch.stack([self._piece(piece, len(batch.labels)) for piece in batch.pieces(self.pieces)]).sum()
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error) or len(batch.labels) < 2 * self.pieces * SMALLEST_PIECE:
                raise
            return None

    def _piece(self, piece: Batch, whole: int) -> Tensor:
        with autocast(self.device, self.recipe):
            loss = self.loss(self.trained, piece) * (len(piece.labels) / whole)
        loss.backward()
        return loss.detach()

    def state(self, curve: list[Epoch]) -> dict[str, Any]:
        """Tensors and plain values, so that it loads without pickle."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "ema": self.ema.module.state_dict() if self.ema else None,
            "curve": [epoch.model_dump() for epoch in curve],
        }

    def restore(self, state: dict[str, Any]) -> list[Epoch]:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.ema:
            self.ema.module.load_state_dict(state["ema"])
        curve = [Epoch(**epoch) for epoch in state["curve"]]
        self.pieces = curve[-1].pieces
        return curve

    def finish(self) -> None:
        if self.ema:
            self.model.load_state_dict(self.ema.module.state_dict())
        self.model.eval()


def _check(losses: list[Tensor], epoch: int, before: int) -> None:
    """Raises Diverged at the first loss that is not finite; `before` steps of the epoch came before these."""
    values = torch.stack(losses).tolist()
    for step, loss in enumerate(values, start=before + 1):
        if not math.isfinite(loss):
            raise Diverged(loss, epoch, step)


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory did not suffice; torch's CPU allocator says so with a plain RuntimeError."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(sign in str(error) for sign in ALLOCATION_SIGNS)


def _mixed_seed(seed: int, epoch: int) -> int:
    """A seed for one epoch that no neighbouring (seed, epoch) shares."""
    return seed * 1_000_003 + epoch


def num_steps(num_images: int, recipe: Recipe) -> int:
    """Batches in an epoch."""
    return max(1, math.ceil(num_images / recipe.batch_size))


def lr_share(step: int, steps_per_epoch: int, recipe: Recipe) -> float:
    """Learning rate over its peak at a step counted from 1: a line up in the warm-up, then a cosine down to `min_lr`."""
    warmup, total = recipe.warmup_epochs * steps_per_epoch, recipe.epochs * steps_per_epoch
    if step <= warmup:
        return step / warmup
    done = (step - warmup) / max(1.0, total - warmup)
    return recipe.min_lr + (1 - recipe.min_lr) * (1 + math.cos(math.pi * done)) / 2


def optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """timm's optimiser of that name; timm leaves biases, norms and scales (one dimension) out of the weight decay.

    Each of its groups has its factor on the learning rate under timm's name for it, `lr_scale`.
    """
    fused = {"fused": True} if recipe.optimizer in FUSED else {}
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
    kinds = {MIXERS[name]: factor for name, factor in recipe.mixer_lr.items()}
    blocks = [block for block in model.modules() if type(getattr(block, "token_mixer", None)) in kinds]
    return {weight: kinds[type(block.token_mixer)] for block in blocks for weight in block.parameters()}


def autocast(device: torch.device, recipe: Recipe) -> torch.autocast:
    """bf16 where the recipe asks for it or, on "auto", where the device computes in it."""
    wanted = recipe.precision == "bf16" or (recipe.precision == "auto" and computes_in_bf16(device))
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=wanted)


def computes_in_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 in hardware; emulated, it is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))


@torch.inference_mode()
def evaluate(model: nn.Module, images: Images, recipe: Recipe, *, device: str | torch.device = "cpu") -> Score:
    """Accuracy and loss of a network on images as they are, nothing drawn."""
    device, number = torch.device(device), len(images.labels)
    model.eval()
    sums, done, size = np.zeros(3), 0, EVALUATION_BATCH
    while done < number:
        part = Images(*(array[done : done + size] for array in images))
        try:
            sums += _judged(model, part, recipe, device)
            done += size
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error) or size == 1:
                raise
            size //= 2
    return Score(*(sums / number).tolist())


def _judged(model: nn.Module, images: Images, recipe: Recipe, device: torch.device) -> tuple[float, float, float]:
    """How many images are right, how many among the five likeliest classes, and the sum of their losses."""
    pixels, labels = (torch.from_numpy(part.copy()).to(device) for part in images)
    with autocast(device, recipe):
        logits = model(normalised(pixels, channels_last=recipe.channels_last))
    logits = logits.float()  # (B, num_classes)
    best = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]  # (B, 5)
    return float(best[:, 0].sum()), float(best.sum()), float(functional.cross_entropy(logits, labels, reduction="sum"))
