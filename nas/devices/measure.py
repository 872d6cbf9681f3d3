"""Timing time of a forward pass on a named device: networks in turns in one run, so that their ratios can be trusted."""

import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from filelock import Timeout
from torch import nn

from nas.devices.conditions import Conditions
from nas.devices.runtimes import Pass, runtime_of
from nas.errors import NasError
from nas.files import KernelLock
from nas.models.size import is_out_of_memory, memory_bytes

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
TELLING_FLAGS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "asimd", "sve")
LOCK_SECONDS = 1800
LOCK_FILE = Path(tempfile.gettempdir()) / "nas-measuring.lock"


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
    with ready(networks, conditions) as passes:
        for run in passes.values():
            for _ in range(conditions.warm_up):
                run()
        times: dict[str, list[float]] = {name: [] for name in passes}
        for _ in range(conditions.repeats):  # A B C A B C ...: what slows the machine down for a while slows them all
            for name, run in passes.items():
                times[name].append(seconds_of(run, conditions))
    first = times[next(iter(times))]
    return [_latency(name, seconds, first, conditions.batch) for name, seconds in times.items()]


@contextmanager
def ready(networks: Mapping[str, nn.Module], conditions: Conditions) -> Iterator[dict[str, Pass]]:
    """One forward pass of each network under `conditions`, while nobody else measures on this machine."""
    device = device_of(conditions.device)
    with alone_here(), _threads(conditions.threads), torch.inference_mode():
        _check_memory(conditions, device)
        images = torch.randn(conditions.batch, 3, conditions.image_size, conditions.image_size).to(device)
        images, make = _placed(images, conditions), runtime_of(conditions.runtime)
        try:
            yield {name: make(_placed(n.to(device).eval(), conditions), images, conditions) for name, n in networks.items()}
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise NasError(
                f"{device}: a batch of {conditions.batch} does not fit into its memory; choose a smaller one."
            ) from None


def _check_memory(conditions: Conditions, device: torch.device) -> None:
    """NasError where a batch alone is more than the machine's memory, which a CPU is out of without an error of its own."""
    needed = conditions.batch * 3 * conditions.image_size**2 * torch.float32.itemsize
    if needed > memory_bytes():
        raise NasError(
            f"{device}: a batch of {conditions.batch:,} images of {conditions.image_size} px does not fit into its memory; "
            "choose a smaller one."
        )


def seconds_of(run: Pass, conditions: Conditions) -> float:
    """Time of one forward pass: of torch on a card between two of its own events, else by the clock on the wall.

    Where one thread does the work its own clock is read, which stands while another job has the core: such interruptions fall
    on long passes more often than on short ones, and are no drift that all networks have in common.
    """
    on_card = device_of(conditions.device).type == "cuda"
    if on_card and not conditions.is_onnx:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) / 1000
    clock = time.thread_time if conditions.threads == 1 and not on_card else time.perf_counter
    begin = clock()
    run()
    return clock() - begin


def peak_bytes_of(run: Pass, conditions: Conditions) -> int | None:
    """The most memory that one pass holds at once besides weights; None where the runtime cannot tell, as on a CPU."""
    device = device_of(conditions.device)
    if device.type != "cuda" or conditions.is_onnx or conditions.cuda_graphs:
        return None
    held = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    run()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - held


@contextmanager
def alone_here() -> Iterator[None]:
    """One measurement at a time on this machine: waits for another to end, and says so; NasError after half an hour."""
    lock = KernelLock(LOCK_FILE, mode=0o666)
    try:
        lock.acquire(seconds=0)
    except Timeout:
        print("waiting for another measurement on this machine to end", file=sys.stderr)
        try:
            lock.acquire(seconds=LOCK_SECONDS)
        except Timeout:
            raise NasError(
                f"another measurement has been running on this machine for {LOCK_SECONDS // 60} minutes "
                f"({lock.path} is locked). Wait for it or end it, then give the same command again."
            ) from None
    try:
        yield
    finally:
        lock.release()


def _latency(name: str, seconds: list[float], first: list[float], batch: int) -> Latency:
    taken = spread([1000 * s for s in seconds])
    return Latency(name, taken, 1000 * batch / taken.median, spread([a / b for a, b in zip(first, seconds, strict=True)]))


def spread(values: list[float]) -> Spread:
    """Median and quartiles of at least two values."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high)


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
    return {
        "device": device.type,
        **own,
        "torch": torch.__version__,
        "threads": conditions.threads or torch.get_num_threads(),
        **_onnx(conditions),
    }


def _onnx(conditions: Conditions) -> dict[str, str]:
    return {"onnxruntime": version("onnxruntime")} if conditions.is_onnx else {}


def _gpu(device: torch.device) -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(device)
    return {
        "model": properties.name,
        "memory_bytes": properties.total_memory,
        "multiprocessors": properties.multi_processor_count,
        "driver": _driver(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "tf32_convolutions": torch.backends.cudnn.allow_tf32,
        "tf32_products": torch.backends.cuda.matmul.allow_tf32,
    }


def _driver() -> str | None:
    """The version of NVIDIA's driver where the system says it."""
    path = Path("/proc/driver/nvidia/version")
    words = path.read_text().split() if path.is_file() else []
    return next((word for word in words if word.count(".") >= 1 and word[0].isdigit()), None)


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
