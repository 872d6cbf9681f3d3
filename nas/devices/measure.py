"""Measured time of a forward pass on a named device: networks in turns in one run, so that their ratios can be trusted."""

import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from nas.config import Value, validated
from nas.errors import NasError
from nas.models.size import is_out_of_memory, memory_bytes
from nas.space.architecture import MOST_PIXELS

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
TELLING_FLAGS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "asimd", "sve")

_Network = Callable[[Tensor], Tensor]
"""A network, as it is or compiled."""


class Conditions(Value):
    """All that a time depends on besides the network and the machine."""

    device: str = "cpu"
    batch: Annotated[int, Field(ge=1, le=1_000_000)] = 16
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    image_size: Annotated[int, Field(ge=1, le=MOST_PIXELS)] = 224
    channels_last: bool = False
    compile: bool = False
    threads: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Threads of the CPU; None leaves torch's own choice."""
    warm_up: Annotated[int, Field(ge=0, le=100_000)] = 3
    repeats: Annotated[int, Field(ge=2, le=100_000)] = 20


def conditions_of(settings: dict[str, object]) -> Conditions:
    """The conditions that flags of `nas latency` ask for; ConfigError where one breaks a rule."""
    return validated(Conditions, settings, where="nas latency")


class Spread(NamedTuple):
    """The median of repeated measurements and their quartiles."""

    median: float
    low: float
    high: float


class Latency(NamedTuple):
    """One network's time for a batch, and its throughput relative to the first network's, round by round."""

    name: str
    batch_ms: Spread
    images_per_second: float
    speed: Spread
    """Above 1: faster than the first network in the same run."""


def measure(networks: dict[str, nn.Module], conditions: Conditions) -> list[Latency]:
    """Each network's latency under `conditions`, in the order given; NasError where the device is missing or too small."""
    device = device_of(conditions.device)
    with _threads(conditions.threads), torch.inference_mode():
        _check_memory(conditions, device)
        images = torch.randn(conditions.batch, 3, conditions.image_size, conditions.image_size).to(device)
        images = _placed(images, conditions)
        try:
            ready = {name: _ready(network.to(device), conditions) for name, network in networks.items()}
            for network in ready.values():
                for _ in range(conditions.warm_up):
                    network(images)
            times = _rounds(ready, images, conditions.repeats)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise NasError(
                f"{device}: a batch of {conditions.batch} does not fit into its memory; choose a smaller one."
            ) from None
    first = times[next(iter(times))]
    return [_latency(name, seconds, first, conditions.batch) for name, seconds in times.items()]


def _check_memory(conditions: Conditions, device: torch.device) -> None:
    """NasError where a batch alone is more than the machine's memory, which a CPU is out of without an error of its own."""
    needed = conditions.batch * 3 * conditions.image_size**2 * torch.float32.itemsize
    if needed > memory_bytes():
        raise NasError(
            f"{device}: a batch of {conditions.batch:,} images of {conditions.image_size} px does not fit into its memory; "
            "choose a smaller one."
        )


def _rounds(networks: dict[str, _Network], images: Tensor, repeats: int) -> dict[str, list[float]]:
    """Seconds of each network's forward passes, A B C A B C ...: what slows the machine down for a while slows them all."""
    times: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(repeats):
        for name, network in networks.items():
            times[name].append(seconds_of(network, images))
    return times


def seconds_of(network: _Network, images: Tensor) -> float:
    """Wall time of one forward pass, to the end of the device's work."""
    _finish(images.device)
    start = time.perf_counter()
    network(images)
    _finish(images.device)
    return time.perf_counter() - start


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _latency(name: str, seconds: list[float], first: list[float], batch: int) -> Latency:
    taken = spread([1000 * s for s in seconds])
    return Latency(name, taken, 1000 * batch / taken.median, spread([a / b for a, b in zip(first, seconds, strict=True)]))


def spread(values: list[float]) -> Spread:
    """Median and quartiles of at least two values."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high)


def _ready(network: nn.Module, conditions: Conditions) -> _Network:
    network = _placed(network.eval(), conditions)
    return torch.compile(network) if conditions.compile else network


def _placed(thing: Any, conditions: Conditions) -> Any:
    """A network or a batch in the dtype and memory format asked for."""
    layout = torch.channels_last if conditions.channels_last else torch.contiguous_format
    return thing.to(dtype=DTYPES[conditions.dtype], memory_format=layout)


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def device_of(name: str) -> torch.device:
    """The device of that name; NasError unless this machine has it."""
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (index and (kind == "cpu" or not (index.isascii() and index.isdecimal()))):
        raise NasError(f"--device must be cpu, cuda or cuda:N, but got {name!r}.")
    count = torch.cuda.device_count()
    if kind == "cuda" and int(index or 0) >= count:
        has = f"it has {count}" if count else "there is none, or this torch was built without CUDA"
        raise NasError(f"--device {name}: no such CUDA device here ({has}); measure with --device cpu or on another machine.")
    return torch.device(name)


def fingerprint(conditions: Conditions) -> dict[str, Any]:
    """What must stand beside every time: the machine, the software, and the settings that change speed."""
    device = device_of(conditions.device)
    own = _gpu(device) if device.type == "cuda" else _cpu()
    return {"device": device.type, **own, "torch": torch.__version__, "threads": conditions.threads or torch.get_num_threads()}


def _gpu(device: torch.device) -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(device)
    return {
        "model": properties.name,
        "memory_bytes": properties.total_memory,
        "multiprocessors": properties.multi_processor_count,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "tf32_convolutions": torch.backends.cudnn.allow_tf32,
        "tf32_products": torch.backends.cuda.matmul.allow_tf32,
    }


def _cpu() -> dict[str, Any]:
    cpuinfo = _cpuinfo()
    flags = cpuinfo.get("flags", cpuinfo.get("Features", "")).split()
    return {
        "model": cpuinfo.get("model name") or platform.processor() or platform.machine(),
        "family_model_stepping": "/".join(cpuinfo.get(key, "?") for key in ("cpu family", "model", "stepping")),
        "flags": [flag for flag in TELLING_FLAGS if flag in flags],
        "torch_capability": torch.backends.cpu.get_cpu_capability(),
    }


def _cpuinfo() -> dict[str, str]:
    """The first core's lines of /proc/cpuinfo; nothing where the system has no such file."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().split("\n\n")[0].splitlines() if path.is_file() else []
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
