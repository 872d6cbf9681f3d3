"""What runs a network where it is deployed: each gives a function that makes one forward pass, and nothing else.

The table of names is `RUNTIMES` in `conditions.py`.
"""

import logging
import tempfile
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from nas.devices.conditions import RUNTIMES, Conditions
from nas.devices.int8 import prepare_int8, write_int8
from nas.errors import NasError
from nas.models.plain import with_plain_pooling

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Pass = Callable[[], object]
"""One forward pass of a network that is ready."""
ONNX_RUNTIME = ("onnx", "onnxruntime")


def runtime_of(name: str) -> Callable[[nn.Module, Tensor, Conditions], Pass]:
    """What makes a network ready in the runtime of that name."""
    module, _, function = RUNTIMES[name].partition(":")
    return getattr(import_module(module), function)


def eager(network: nn.Module, images: Tensor, conditions: Conditions) -> Pass:
    """torch, operator by operator; on a card that was asked for so as one CUDA graph."""
    if not conditions.cuda_graphs:
        return lambda: network(images)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):  # torch asks for a few passes beside the main stream before one is recorded
            network(images)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        network(images)
    return graph.replay


def compiled(network: nn.Module, images: Tensor, conditions: Conditions) -> Pass:
    """torch.compile; the first pass compiles, which takes a minute on a CPU.

    Each network is exported to a graph with code of its own: of modules that share theirs torch compiles eight and runs the
    others as they are.
    """
    with torch.inference_mode(False), torch.no_grad():
        graph = torch.export.export(network, (images.clone(),)).module()
    fast = torch.compile(graph)
    return lambda: fast(images)


def onnx_session(network: nn.Module, images: Tensor, conditions: Conditions) -> Pass:
    """ONNX Runtime, on the CPU or by its CUDA provider; NasError where that is not installed."""
    check_onnx_runtime(conditions)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        write_onnx_for(path, network, images.cpu())
        return file_pass(path, images.cpu(), conditions)


def onnx_int8_session(network: nn.Module, images: Tensor, conditions: Conditions) -> Pass:
    """The same of the network in int8, calibrated by the very images, whose values change no time."""
    check_onnx_runtime(conditions)
    with tempfile.TemporaryDirectory() as folder:
        source, prepared, quantized = (Path(folder) / name for name in ("network.onnx", "prepared.onnx", "int8.onnx"))
        write_onnx_for(source, network, images)
        prepare_int8(source, prepared)
        write_int8(prepared, quantized, [images])
        return file_pass(quantized, images, conditions)


def file_pass(path: Path, images: Tensor, conditions: Conditions) -> Pass:
    """What runs an ONNX file of ours on `images`; the file may be deleted then."""
    session, feed = session_of(path, conditions), {"images": images.numpy()}
    return lambda: session.run(None, feed)


def session_of(path: Path, conditions: Conditions) -> "InferenceSession":
    """ONNX Runtime with an ONNX file, under the conditions' device and threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    if conditions.threads is not None:
        options.intra_op_num_threads = conditions.threads
    return onnxruntime.InferenceSession(str(path), options, providers=[_provider(conditions)])


def _provider(conditions: Conditions) -> str:
    return "CUDAExecutionProvider" if conditions.device.startswith("cuda") else "CPUExecutionProvider"


def check_onnx_runtime(conditions: Conditions) -> None:
    """NasError where ONNX Runtime, or its provider for the device, is not there."""
    missing = [name for name in ONNX_RUNTIME if find_spec(name) is None]
    if missing:
        raise NasError(
            f"--runtime {conditions.runtime} needs {' and '.join(ONNX_RUNTIME)}, but {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not installed. Install the extra: pip install 'metaformer-nas[onnx]'"
        )
    import onnxruntime

    provider, available = _provider(conditions), onnxruntime.get_available_providers()
    if provider not in available:
        raise NasError(
            f"--runtime {conditions.runtime} --device {conditions.device}: needs {provider}, but this onnxruntime has "
            f"{', '.join(available)}. Install onnxruntime-gpu, or measure with --device cpu."
        )


def not_here(network: nn.Module, images: Tensor, conditions: Conditions) -> Pass:
    """Never: a time of "outside" was taken with somebody else's tool."""
    raise NasError("runtime outside: such times are measured with a tool of your own. See `nas devices ask --help`.")


def write_onnx_for(path: Path, network: nn.Module, images: Tensor) -> None:
    """The network for images of exactly that shape as an ONNX file; names are "images" and "logits".

    It is written by torch's older exporter, which takes half a second where that of `nas export` takes nine.
    """
    quiet = logging.getLogger("torch.onnx")
    before = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")  # of what is traced
            torch.onnx.export(
                with_plain_pooling(network), (images,), str(path), dynamo=False, input_names=["images"], output_names=["logits"]
            )
    finally:
        quiet.setLevel(before)
