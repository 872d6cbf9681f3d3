"""torch.export: the graph of torch's own operators."""

from pathlib import Path

import torch
from torch import Tensor, nn

from nas.export.formats.onnx import any_batch
from nas.export.formats.row import LoadedNetwork, Writer


def write_program(model: nn.Module, images: Tensor, path: Path) -> None:
    """One file, for batches of any size."""
    with torch.no_grad():
        torch.export.save(torch.export.export(model, (images,), dynamic_shapes=any_batch()), path)


def load_program(path: Path) -> LoadedNetwork:
    """What torch computes."""
    module = torch.export.load(path).module()
    return torch.inference_mode()(lambda images: module(images))


_USAGE = """\
import torch

with torch.inference_mode():
    logits = torch.export.load("model.pt2").module()(torch.from_numpy(pixels("cat.jpg"))).numpy()"""
TORCH_EXPORT = Writer(
    ("model.pt2",), "the network for `torch.export.load`, batches of any size", write_program, load_program, _USAGE
)
