"""OpenVINO's intermediate representation, for Intel's processors and accelerators, by OpenVINO's own converter."""

from pathlib import Path

import torch
from torch import Tensor, nn

from nas.export.formats.row import LoadedNetwork, Writer

FLOAT32 = {"INFERENCE_PRECISION_HINT": "f32"}  # a CPU with bfloat16 would else compute in that


def write_openvino(model: nn.Module, images: Tensor, path: Path) -> None:
    """Two files, the weights in float32 beside the graph, for batches of any size."""
    import openvino

    graph = openvino.convert_model(model, example_input=images, input=[-1, *images.shape[1:]])
    openvino.save_model(graph, path, compress_to_fp16=False)


def load_openvino(path: Path) -> LoadedNetwork:
    """What OpenVINO computes with one thread of the CPU in float32."""
    import openvino

    network = openvino.Core().compile_model(path, "CPU", {**FLOAT32, "INFERENCE_NUM_THREADS": 1})
    return lambda images: torch.from_numpy(network([images.numpy()])[0].copy())


_USAGE = """\
import openvino

network = openvino.Core().compile_model("model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})  # else it may take bfloat16
logits = network([pixels("cat.jpg")])[0]"""
OPENVINO = Writer(
    ("model.xml", "model.bin"), "graph and weights for OpenVINO, batches of any size", write_openvino, load_openvino, _USAGE,
    ("openvino>=2026.4,<2027",), "openvino",
)  # fmt: skip
