"""LiteRT (TensorFlow Lite's successor), for Android and microcontrollers, by Google's converter for torch."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from nas.export.formats.row import LoadedNetwork, Writer


def write_litert(model: nn.Module, images: Tensor, path: Path) -> None:
    """One file, for one image at a time."""
    import litert_torch

    litert_torch.convert(model, (images[:1],)).export(str(path))


def load_litert(path: Path) -> LoadedNetwork:
    """What LiteRT computes with one thread of the CPU, image by image."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    [entry], [exit_] = interpreter.get_input_details(), interpreter.get_output_details()

    def answer(images: Tensor) -> Tensor:
        logits = []
        for image in images.numpy():
            interpreter.set_tensor(entry["index"], image[None])
            interpreter.invoke()
            logits.append(interpreter.get_tensor(exit_["index"]))
        return torch.from_numpy(np.concatenate(logits))  # (B, classes)

    return answer


_USAGE = """\
from ai_edge_litert.interpreter import Interpreter

interpreter = Interpreter("model.tflite")
interpreter.allocate_tensors()
interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels("cat.jpg"))
interpreter.invoke()
logits = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])"""
LITERT = Writer(
    ("model.tflite",), "the network for LiteRT, one image at a time", write_litert, load_litert, _USAGE,
    ("litert-torch>=0.10,<0.11", "ai-edge-litert>=2.3,<3"), "litert",
)  # fmt: skip
