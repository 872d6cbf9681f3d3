"""An architecture's proxy training: a learning curve, or the reason why there is none."""

import time
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from nas.config import Value, validated
from nas.errors import Infeasible
from nas.files import replacing
from nas.models.metaformer import build
from nas.space.architecture import Architecture
from nas.space.cost import feature_sides
from nas.training.data import Manifest, load
from nas.training.loop import Diverged, Epoch, OnEpoch, fit, keep_going
from nas.training.recipe import Recipe

ALLOCATION_SIGNS = ("out of memory", "can't allocate memory", "could not allocate", "CUBLAS_STATUS_ALLOC_FAILED")


class Outcome(Value):
    """What one proxy training came to; every epoch that was reached stays in the curve."""

    curve: tuple[Epoch, ...]
    accuracy: float | None
    """Of the last epoch of the recipe; None when the training did not get there."""
    seconds: float
    """From building the network to the last validation."""
    cause: str | None = None
    """Why the architecture could not be trained; None when nothing went wrong, early stopping included."""


def score(
    architecture: Architecture,
    recipe: Recipe,
    manifest: Manifest,
    *,
    seed: int,
    device: str | torch.device = "cpu",
    on_epoch: OnEpoch = keep_going,
    weights: Path | None = None,
    root: Path | None = None,
) -> Outcome:
    """Trains on search-train and validates on search-validation; writes the final weights to `weights` when it is given.

    What the architecture does (a loss that is no number, memory that doesn't suffice, no feature map left at this image
    size) comes back as the outcome's cause; what is wrong with data or disk raises NasError.
    """
    train, validation = (load(manifest, split, image_size=recipe.image_size, root=root) for split in ("train", "validation"))
    started, curve = time.perf_counter(), []

    def recorded(epoch: Epoch) -> bool | None:
        curve.append(epoch)
        return on_epoch(epoch)

    try:
        model = network(architecture, recipe, num_classes=len(manifest.class_names), seed=seed)
        fit(model, train, validation, recipe, seed=seed, device=device, on_epoch=recorded)
    except (Diverged, Infeasible, MemoryError, RuntimeError) as error:
        return Outcome(curve=tuple(curve), accuracy=None, seconds=_since(started), cause=cause_of(error))
    finished = len(curve) == recipe.epochs
    outcome = Outcome(curve=tuple(curve), accuracy=curve[-1].accuracy if finished else None, seconds=_since(started))
    if weights is not None and finished:
        save_weights(model, weights)
    return outcome


def network(architecture: Architecture, recipe: Recipe, *, num_classes: int, seed: int) -> nn.Module:
    """The network to train, its weights drawn from the seed alone; Infeasible where the images are too small for it."""
    architecture = with_stem_stride(architecture, recipe.stem_stride)
    feature_sides(architecture, image_size=recipe.image_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(
            architecture,
            image_size=recipe.image_size,
            num_classes=num_classes,
            drop_path=recipe.drop_path,
            head_dropout=recipe.head_dropout,
        )


def with_stem_stride(architecture: Architecture, stride: int | None) -> Architecture:
    """The architecture with that stride of the stem (None keeps it); ConfigError where its kernel would skip pixels."""
    if stride is None:
        return architecture
    changed = {**architecture.to_dict(), "stem_stride": stride}
    return validated(Architecture, changed, where=f"the recipe's stem_stride {stride}")


def cause_of(error: Exception) -> str:
    """A short text for what stopped a training; raises errors that are no fault of the architecture's."""
    text = " ".join(str(error).split())
    if isinstance(error, Diverged):
        return f"diverged: {text}"
    if isinstance(error, Infeasible):
        return f"infeasible: {text}"
    if is_out_of_memory(error):
        return f"out of memory: {text[:200]}"
    raise error


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory did not suffice; torch's CPU allocator says so with a plain RuntimeError."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(sign in str(error) for sign in ALLOCATION_SIGNS)


def save_weights(model: nn.Module, path: Path) -> None:
    """The weights as safetensors; a half-written file is never seen."""
    with replacing(path) as temporary:
        temporary.write_bytes(save(plain(model.state_dict())))


def plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors on the CPU in C order, as safetensors wants them."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 3)
