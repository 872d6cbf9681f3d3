"""A network in integers of 8 bits: static quantisation after training, by ONNX Runtime's own tools.

Weights get a scale a channel, what flows between operators one scale, from the smallest and largest values that calibration
images bring (arXiv:1712.05877, section 3).
"""

import logging
import re
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from torch import Tensor

PRODUCTS = ("Conv", "MatMul", "Gemm")
"""Operators that multiply and add up, which is nearly all that a network computes."""
PART = re.compile(r"/stages/stages\.(\d+)/(?:(downsample)|blocks/blocks\.\d+/(token_mixer|mlp))/|/(stem|head)/")
WORDS = {"downsample": "downsampling", "token_mixer": "mixers", "mlp": "channel MLPs"}


def write_int8(
    source: Path, target: Path, batches: Iterable[Tensor], *, in_float: Collection[str] = (), every_operator: bool = False
) -> None:
    """The network of the ONNX file `source` in int8, calibrated by batches of images `(B, 3, H, W)`.

    `in_float` names nodes that stay as they are. Integers are the products; with `every_operator` all that ONNX Runtime knows
    how to quantise, as accelerators without float need it.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder, _quiet():
        prepared = Path(folder) / "prepared.onnx"  # constants folded, batch norms merged, shapes inferred
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared), str(target), _Reader(batches), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QInt8, weight_type=QuantType.QInt8, nodes_to_exclude=list(in_float),
            op_types_to_quantize=None if every_operator else list(PRODUCTS),
        )  # fmt: skip


class _Reader:
    """Calibration images batch by batch, as ONNX Runtime asks for them."""

    def __init__(self, batches: Iterable[Tensor]):
        self.feeds = ({"images": batch.numpy()} for batch in batches)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch; None after the last."""
        return next(self.feeds, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the tools' advice to whoever calls them off the screen."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)


def network_parts(path: Path) -> Mapping[str, tuple[str, ...]]:
    """The nodes of an ONNX file of ours by the part of the network that they belong to, such as "channel MLPs of stage 3"."""
    import onnx

    parts: dict[str, list[str]] = {}
    for node in onnx.load(str(path), load_external_data=False).graph.node:
        if match := PART.search(node.name):
            stage, *kinds, end = match.groups()
            kind = next((WORDS[kind] for kind in kinds if kind), "")
            parts.setdefault(end or f"{kind} of stage {int(stage) + 1}", []).append(node.name)
    return {part: tuple(names) for part, names in parts.items()}
