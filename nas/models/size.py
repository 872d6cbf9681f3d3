"""Whether a network can be built here at all, which its costs tell before a weight is drawn."""

import os
from contextlib import suppress
from pathlib import Path

import torch

from nas.errors import Infeasible
from nas.space.architecture import Architecture
from nas.space.cost import cost
from nas.units import count

LIMITS = ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Of a container, by version 2 and 1 of Linux's control groups. https://docs.kernel.org/admin-guide/cgroup-v2.html"""
MOST_BLOCKS = 10_000  # modules are made one by one
BYTES = 4  # of a number in float32
ALLOCATION_SIGNS = ("out of memory", "can't allocate memory", "could not allocate", "CUBLAS_STATUS_ALLOC_FAILED")


def check_buildable(architecture: Architecture, *, image_size: int, num_classes: int, images: int = 1) -> None:
    """Nothing, if memory suffices for the weights and for a forward pass of so many images; Infeasible otherwise."""
    blocks = sum(stage.depth for stage in architecture.stages)
    if blocks > MOST_BLOCKS:
        raise Infeasible(f"a network must have at most {MOST_BLOCKS:,} blocks, but got {blocks:,}. Lower the depths.")
    spent = cost(architecture, image_size=image_size, num_classes=num_classes)
    needed, there = BYTES * (spent.params + spent.frozen_params) + images * spent.activation_bytes, memory_bytes()
    if needed > there:
        raise Infeasible(
            f"a network must fit into memory, but {architecture.describe()} at {image_size} px needs {count(needed)}B at "
            f"least, and there are {count(there)}B. Take smaller widths or images, or fewer of them at once."
        )


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory did not suffice; torch's CPU allocator says so with a plain RuntimeError."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(sign in str(error) for sign in ALLOCATION_SIGNS)


def memory_bytes(root: Path = Path("/")) -> int:
    """Bytes of memory, however much of it is in use; a terabyte where the system does not say."""
    sizes = [2**40]
    with suppress(OSError, ValueError):
        sizes.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for limit in LIMITS:
        with suppress(OSError, ValueError):  # "max", or no such groups
            sizes.append(int((root / limit).read_text()))
    return min(sizes)
