"""ONNX, by torch's own exporter; proven in ONNX Runtime."""

import logging
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from nas.errors import NasError
from nas.export.formats.row import LoadedNetwork, Writer

OPSETS = range(18, 24)  # ONNX's operator sets that torch's exporter writes; asked for another it writes 18 without a word


def write_onnx(model: nn.Module, images: Tensor, path: Path, *, opset: int | None = None) -> None:
    """One file, for batches of any size, with the operators of ONNX's set of that number, or torch's choice."""
    quiet = logging.getLogger("torch.onnx")
    before = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter's own inner workings
            torch.onnx.export(
                model, (images,), str(path), dynamo=True, external_data=False, verbose=False, dynamic_shapes=any_batch(),
                input_names=["images"], output_names=["logits"], opset_version=opset,
            )  # fmt: skip
    finally:
        quiet.setLevel(before)
    if opset is not None and (written := _opset_of(path)) != opset:
        raise NasError(f"--format onnx@{opset}: torch {torch.__version__} wrote the operator set {written}. Choose another.")


def _opset_of(path: Path) -> int:
    import onnx

    return next(entry.version for entry in onnx.load(path).opset_import if not entry.domain)


def load_onnx(path: Path) -> LoadedNetwork:
    """What ONNX Runtime computes with one thread of the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(np.asarray(session.run(["logits"], {"images": images.numpy()})[0]))


def any_batch() -> tuple[dict, ...]:
    """How torch.export is told that the number of images is open."""
    return ({0: torch.export.Dim("batch")},)


_USAGE = """\
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
[logits] = session.run(None, {"images": pixels("cat.jpg")})"""
ONNX = Writer(
    ("model.onnx",), "the network for ONNX runtimes, batches of any size", write_onnx, load_onnx, _USAGE,
    ("onnx>=1.17", "onnxscript>=0.5", "onnxruntime>=1.20"), "onnx",
)  # fmt: skip
