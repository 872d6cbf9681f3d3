"""ExecuTorch, torch's runtime for phones, with XNNPACK's operators for their processors."""

from pathlib import Path

import torch
from torch import Tensor, nn

from nas.export.formats.row import LoadedNetwork, Writer


def write_executorch(model: nn.Module, images: Tensor, path: Path) -> None:
    """One file, for one image at a time."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    with torch.no_grad():
        program = torch.export.export(model, (images[:1],))
    path.write_bytes(to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch().buffer)


def load_executorch(path: Path) -> LoadedNetwork:
    """What ExecuTorch computes on the CPU, image by image."""
    from executorch.runtime import Runtime

    method = Runtime.get().load_program(str(path)).load_method("forward")
    return lambda images: torch.cat([method.execute([image[None]])[0].clone() for image in images])  # (B, classes)


_USAGE = """\
import torch
from executorch.runtime import Runtime

method = Runtime.get().load_program("model.pte").load_method("forward")
logits = method.execute([torch.from_numpy(pixels("cat.jpg"))])[0].clone().numpy()  # the runtime writes over its own"""
EXECUTORCH = Writer(
    ("model.pte",), "the network for ExecuTorch with XNNPACK, one image at a time", write_executorch, load_executorch, _USAGE,
    ("executorch>=1.5,<1.6",), "executorch",
)  # fmt: skip
