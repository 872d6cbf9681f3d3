"""The processes that train one network together: who this one is, and sums over all of them. Alone it is one of one.

torchrun and Ray Train both say so in the environment: RANK, WORLD_SIZE, LOCAL_RANK.
"""

import ctypes
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from nas.errors import NasError

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # as glibc's malloc.h numbers them
NEVER = 2**31 - 1

T = TypeVar("T")
_PATIENT: ContextVar[Any] = ContextVar("patient", default=None)  # a group of all, with a long wait
STEP_PATIENCE = timedelta(minutes=10)  # between the processes' meetings in a training: one that is gone is noticed by then
PATIENCE = timedelta(hours=3)  # for what the first process does while the others wait, such as decode a whole data set


def rank() -> int:
    """The number of this process; 0 speaks and writes."""
    return dist.get_rank() if _joined() else 0


def world() -> int:
    """How many processes train together."""
    return dist.get_world_size() if _joined() else 1


def asked_for() -> int:
    """How many processes the launcher of this one started."""
    return int(os.environ.get("WORLD_SIZE", 1))


def own_device(device: str) -> torch.device:
    """This process's device; "auto" and "cuda" take the card of its own number. NasError where there is none."""
    local, cards = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    if device == "auto":
        device = "cuda" if cards else "cpu"
    try:
        parsed = torch.device(device)
    except RuntimeError:
        parsed = None
    if parsed is None or parsed.type not in ("cpu", "cuda") or (parsed.type == "cpu" and parsed.index is not None):
        raise NasError(f"--device: must be auto, cpu, cuda or cuda:N, but got {device!r}. Choose one of them.")
    if parsed.type != "cuda":
        return parsed
    number = local if parsed.index is None else parsed.index
    if number >= cards:
        raise NasError(
            f"--device {device}: process {local + 1} of this machine needs GPU {number}, but {cards} can be seen. "
            "Start fewer processes, look at CUDA_VISIBLE_DEVICES, or train with --device cpu."
        )
    return torch.device("cuda", number)


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Joins the processes that a launcher started, unless it has done so itself; alone there is nothing to join."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
    mine = asked_for() > 1 and not _joined()
    if mine:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=STEP_PATIENCE)
    before = _PATIENT.set(dist.new_group(backend="gloo", timeout=PATIENCE) if world() > 1 else None)
    try:
        yield
    finally:
        _PATIENT.reset(before)
        if mine:
            dist.destroy_process_group()


def summed(values: Tensor) -> Tensor:
    """The sum of each process's `values`, in every process."""
    if world() > 1:
        dist.all_reduce(values)
    return values


def averaged(values: Tensor) -> Tensor:
    """The mean of each process's `values`, in every process."""
    return summed(values) / world() if world() > 1 else values


def align(model: nn.Module) -> None:
    """Gives every process the first one's buffers: on a CPU each has its own statistics for batch norms."""
    for buffer in model.buffers() if world() > 1 else ():
        dist.broadcast(buffer, 0)


def of_first(call: Callable[[], T]) -> T:
    """What the first process's call gives, in every process; the others need not see its disk."""
    box: list[Any] = [call() if rank() == 0 else None]  # torch sends it pickled, which has no type
    if world() > 1:
        dist.broadcast_object_list(box, group=_PATIENT.get())
    answer: T = box[0]
    return answer


def wait_for_first() -> None:
    """Until the first process comes here as well: in its own time, which a training's steps would not wait for."""
    of_first(lambda: None)


def keep_freed_memory() -> None:
    """From now on what this process frees is kept for its next tensors, as far as the C library is glibc.

    Otherwise each training step asks the system for the same megabytes anew, which zeroes them page by page: 4 to 8 % of a
    small step's time. The process then stays as large as it ever was.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(MMAP_THRESHOLD, NEVER)
        libc.mallopt(TRIM_THRESHOLD, NEVER)


def _joined() -> bool:
    return dist.is_available() and dist.is_initialized()
