"""Stages in which memory ends: under a share of the card, in several processes, beside a neighbour."""

import itertools
import math
from pathlib import Path
from typing import Any

import torch
from setting import CLASSES, Setting, images, network, recipe
from torch import nn

from nas.recipes.recipe import Recipe
from nas.training.loop import fit

SHARE_BYTES = 2 * 2**30


class Played(nn.Module):
    """A network for which memory ends above so many images: what a dry run has in the place of a full card."""

    def __init__(self, inner: nn.Module, room: int):
        super().__init__()
        self.inner, self.room = inner, room

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training and len(x) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory (played)")
        return self.inner(x)


def _crowded(setting: Setting) -> nn.Module:
    return Played(network(setting), room=4) if setting.dry else network(setting, size=160)


def _large_batch(setting: Setting) -> Recipe:
    return recipe(setting, epochs=1, warmup_epochs=0, batch_size=setting.of(4096, 16), image_size=setting.of(160, 32))


def memory(setting: Setting, scratch: Path) -> dict[str, Any]:
    """A batch that a share of 2 GB doesn't hold is cut up; so is one that fits only until the optimiser has its state."""
    if setting.is_cuda:
        total = torch.cuda.get_device_properties(setting.torch_device).total_memory
        torch.cuda.set_per_process_memory_fraction(SHARE_BYTES / total, setting.torch_device)
    way = _large_batch(setting)
    data = images(setting.of(2 * way.batch_size, 32), way.full_size)
    first = fit(_crowded(setting), data, None, way, seed=0, device=setting.device)[-1]
    late = {} if setting.dry else _late(setting)
    return {"pieces": first.pieces, **late, "holds": first.pieces > 1 and late.get("pieces_with_state", 2) > 1}


def _late(setting: Setting) -> dict[str, int]:
    """Weights of a third of the share, so that the optimiser's state leaves no room for what the first pass could take."""
    width = math.isqrt(SHARE_BYTES // 6 // 4)
    sides = (3 * 8 * 8, width, width, CLASSES)
    layers = [nn.Sequential(nn.ReLU(), nn.Linear(a, b)) for a, b in itertools.pairwise(sides)]
    model = nn.Sequential(nn.Flatten(), *layers)
    way = Recipe(image_size=8, epochs=1, batch_size=8192, crop_padding=0, warmup_epochs=0, channels_last=False)
    curve = fit(model, images(3 * way.batch_size, 8), None, way, seed=0, device=setting.device)
    return {"pieces_with_state": curve[-1].pieces}


def together(setting: Setting, scratch: Path) -> dict[str, Any]:
    """Two processes on one device, of which one has half the memory, halve their batches together."""
    import torch.multiprocessing as spawned

    context = spawned.get_context("fork" if setting.dry else "spawn")
    pieces = context.SimpleQueue()
    both = [context.Process(target=_one_of_two, args=(rank, setting, scratch / "meeting", pieces)) for rank in (0, 1)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    if any(process.exitcode for process in both):
        return {"trouble": f"exit codes {[process.exitcode for process in both]}"}
    found = [pieces.get(), pieces.get()]
    return {"pieces": found, "holds": found[0] == found[1] > 1}


def _one_of_two(rank: int, setting: Setting, meeting: Path, pieces: Any) -> None:
    torch.set_num_threads(1)
    if setting.is_cuda:
        total = torch.cuda.get_device_properties(setting.torch_device).total_memory
        torch.cuda.set_per_process_memory_fraction((4 - 2 * rank) * 2**30 / total, setting.torch_device)
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    way = _large_batch(setting)
    model = _crowded(setting) if rank or not setting.dry else network(setting)
    curve = fit(model, images(2 * way.batch_size, way.full_size), None, way, seed=0, device=setting.device)
    pieces.put(curve[-1].pieces)
    torch.distributed.destroy_process_group()


def neighbours(setting: Setting, scratch: Path) -> dict[str, Any]:
    """Two trials at half a card each: the greedy one meets its own limit, and the other one trains to its end."""
    context = torch.multiprocessing.get_context("fork" if setting.dry else "spawn")
    greedy = context.Process(target=_greedy, args=(setting,))
    modest = context.Process(target=_modest, args=(setting,))
    for process in (greedy, modest):
        process.start()
    for process in (greedy, modest):
        process.join()
    return {"greedy": greedy.exitcode, "modest": modest.exitcode, "holds": (greedy.exitcode, modest.exitcode) == (3, 0)}


def _half(setting: Setting) -> None:
    if setting.is_cuda:
        torch.cuda.set_per_process_memory_fraction(0.45, setting.torch_device)


def _greedy(setting: Setting) -> None:
    _half(setting)
    kept = []
    try:
        while True:
            if not setting.is_cuda and len(kept) == 3:
                raise torch.OutOfMemoryError("CUDA out of memory (played)")
            kept.append(torch.empty(setting.of(2**30, 2**10), dtype=torch.uint8, device=setting.torch_device))
    except torch.OutOfMemoryError:
        raise SystemExit(3) from None


def _modest(setting: Setting) -> None:
    _half(setting)
    way = recipe(setting)
    fit(network(setting), images(setting.of(4000, 64), way.full_size), None, way, seed=0, device=setting.device)
