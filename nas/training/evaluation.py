"""How good a network is on images as they are, and the arithmetic and memory in which it is computed."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.data.manifest import Images
from nas.models.size import is_out_of_memory
from nas.recipes.recipe import Recipe
from nas.training import processes
from nas.training.batches import InMemoryJudged, Judged

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Score(NamedTuple):
    """An evaluation: fractions of the images, and the mean cross-entropy."""

    accuracy: float
    top5: float
    loss: float


def autocast(device: torch.device, recipe: Recipe) -> torch.autocast:
    """The recipe's precision; on "auto" bf16 where the device computes in it."""
    dtype = arithmetic(device, recipe)
    return torch.autocast(device.type, dtype=None if dtype == torch.float32 else dtype, enabled=dtype != torch.float32)


def arithmetic(device: torch.device, recipe: Recipe) -> torch.dtype:
    """In which type the device multiplies matrices by that recipe."""
    if recipe.precision == "auto":
        return torch.bfloat16 if computes_in_bf16(device) else torch.float32
    return PRECISIONS.get(recipe.precision, torch.float32)


def computes_in_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 in hardware; emulated, it is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def evaluate(model: nn.Module, images: Images | Judged, recipe: Recipe, *, device: str | torch.device = "cpu") -> Score:
    """Accuracy and loss of a network on images as they are, nothing drawn; several processes judge a part each."""
    return evaluate_each(model, images, recipe, device=device)[0]


@torch.inference_mode()
def evaluate_each(
    model: nn.Module, images: Images | Judged, recipe: Recipe, *, device: str | torch.device = "cpu"
) -> tuple[Score, np.ndarray]:
    """The same, and for each image of this process, in their order, whether it was classified right: bool `(N,)`."""
    device, each, pieces = torch.device(device), [np.zeros((0, 3))], 1
    model.eval()
    judged = InMemoryJudged(images, recipe) if isinstance(images, Images) else images
    for pixels, labels in judged.chunks(device):
        while (rows := _judged(model, pixels, labels, recipe, pieces)) is None:
            pieces *= 2
        each.append(rows)
    rows = np.concatenate(each)  # (N, 3)
    sums = torch.from_numpy(np.append(rows.sum(axis=0), len(rows)))
    total = processes.summed(sums.to(device)).tolist()
    return Score(*(value / total[3] for value in total[:3])), rows[:, 0] > 0


def _judged(model: nn.Module, images: Tensor, labels: Tensor, recipe: Recipe, pieces: int) -> np.ndarray | None:
    """For each image whether it is right, whether it is among the five likeliest classes, and its loss: `(N, 3)`.

    None where smaller pieces may fit into memory.
    """
    parts = zip(images.tensor_split(pieces), labels.tensor_split(pieces), strict=True)
    try:
        return np.concatenate([_judged_at_once(model, *part, recipe) for part in parts if len(part[1])])
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error) or pieces >= len(labels):
            raise
        return None


def _judged_at_once(model: nn.Module, images: Tensor, labels: Tensor, recipe: Recipe) -> np.ndarray:
    with autocast(images.device, recipe):
        logits = model(images)
    logits = logits.float()  # (B, num_classes)
    best = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]  # (B, 5)
    loss = functional.cross_entropy(logits, labels, reduction="none")
    return torch.stack([best[:, 0], best.any(dim=1), loss], dim=1).double().cpu().numpy()  # (N, 3)
