"""Which of equal forms of an operator this machine trains faster with: each pair is timed once, and what was found is kept."""

import json
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from nas.data.cache import cache_folder
from nas.errors import NasError
from nas.files import KernelLock, write_whole
from nas.models.operators import TAKEN, attend, average, channel_map, filtered, layer_norm

TIMED_PASSES = 7  # of each form, in turns
CLEARLY = 1.3  # times as fast that a form must be to be taken or left against what is shipped: a busy machine's times differ

NOTHING_KEPT = (OSError, ValueError, TypeError, KeyError)


class Case(NamedTuple):
    """An operator at a size of small images, to be timed in its two forms."""

    form: str
    """Its name among those that `nas.models.operators.TAKEN` holds."""
    operator: Callable[[Tensor], Tensor]
    x: Tensor


def cases(dtype: torch.dtype) -> Iterator[Case]:
    """The operators that have two forms in `dtype`, batches of 64 maps in channels_last; values drawn anew each time."""

    def maps(channels: int, side: int) -> Tensor:
        return torch.randn(64, channels, side, side).to(dtype).contiguous(memory_format=torch.channels_last)

    wide, bias, kernels = torch.randn(640, 160, 1, 1), torch.randn(640), torch.randn(64, 1, 7, 7)
    weights = [weight.requires_grad_() for weight in (wide, bias, kernels)]
    yield Case("pool_as_filter", lambda x: average(x, 5), maps(64, 8))
    yield Case("attention_as_products", lambda x: attend(*x), torch.randn(3, 64, 5, 64, 32).to(dtype))
    yield Case("map_as_product", lambda x: channel_map(x, weights[0], weights[1]), maps(160, 4))
    if dtype == torch.bfloat16:
        yield Case("filter_in_float32", lambda x: filtered(x, weights[2]), maps(64, 8))
        scale = torch.ones(24, requires_grad=True)
        yield Case("norm_in_float32", lambda x: layer_norm(x, (24,), scale, None, 1e-6), torch.randn(64, 16, 16, 24).to(dtype))


def forms_here(dtype: torch.dtype) -> tuple[str, ...]:
    """The forms to train with in `dtype` (float32 or bfloat16) on this machine's CPU, by their names.

    They are timed when a torch of this version trains with so many threads here for the first time, in less than a second, and
    kept in the cache folder; of several processes one does it. A folder that can't be written is no error.
    """
    processor = f"{platform.node()}-{torch.backends.cpu.get_cpu_capability()}-{torch.get_num_threads()}"
    path = cache_folder() / "forms" / f"{processor}-torch{torch.__version__}-{str(dtype).removeprefix('torch.')}.json"
    with suppress(*NOTHING_KEPT):
        return _kept(path, dtype)
    with ExitStack() as stack:
        with suppress(OSError, NasError):  # no room, no rights, a disk that knows no locks
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(KernelLock(path.with_suffix(".lock")))
        with suppress(*NOTHING_KEPT):
            return _kept(path, dtype)
        seconds = _timed(dtype)
        forms = _faster(seconds, dtype)
        with suppress(NasError):
            write_whole(path, json.dumps({"forms": forms, "seconds": seconds}) + "\n")
    return forms


def _kept(path: Path, dtype: torch.dtype) -> tuple[str, ...]:
    """The forms that were found; one of NOTHING_KEPT where it is not known of each that there is by now."""
    content = json.loads(path.read_text(encoding="utf-8"))
    for form in TAKEN[dtype]:
        _ = content["seconds"][form]
    return tuple(str(form) for form in content["forms"])


def _timed(dtype: torch.dtype) -> dict[str, tuple[float, float]]:
    """By form the processor's seconds of a forward and a backward pass with it and without it, the least of several."""
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        return {case.form: (_seconds(case, dtype, [case.form]), _seconds(case, dtype, [])) for case in cases(dtype)}


def _seconds(case: Case, dtype: torch.dtype, forms: list[str]) -> float:
    seconds = []
    with taking(forms, dtype), torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        for _ in range(TIMED_PASSES):
            x = case.x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
            began = time.process_time()
            y = case.operator(x)
            y.backward(torch.ones_like(y))
            seconds.append(time.process_time() - began)
    return min(seconds)


def _faster(seconds: dict[str, tuple[float, float]], dtype: torch.dtype) -> tuple[str, ...]:
    """The forms to take, by name: what is shipped, unless the other one was clearly faster."""
    shipped = TAKEN[dtype]
    return tuple(
        sorted(
            form
            for form, (taken, left) in seconds.items()
            if (taken <= CLEARLY * left if form in shipped else taken * CLEARLY < left)
        )
    )


@contextmanager
def taking(forms: tuple[str, ...] | list[str], dtype: torch.dtype) -> Iterator[None]:
    """Operators on a CPU take these forms in `dtype`, and no others, until the block ends."""
    before = TAKEN[dtype]
    TAKEN[dtype] = frozenset(forms)
    try:
        yield
    finally:
        TAKEN[dtype] = before
