"""A network in integers of 8 bits: static quantisation after training, by ONNX Runtime's own tools.

Weights get a scale a channel, what flows between operators one scale, from the smallest and largest values that calibration
images bring (arXiv:1712.05877, section 3).
"""

import logging
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from torch import Tensor

PRODUCTS = ("Conv", "MatMul", "Gemm")
"""Operators that multiply and add up, which is nearly all that a network computes."""
ELEMENTWISE = ("Add", "Mul", "Relu", "Softmax", "AveragePool")
"""What can be integers as well. Norms stay in float: the tools write an InstanceNormalization that ONNX Runtime can't run."""


def prepare_int8(source: Path, target: Path) -> None:
    """The network of an ONNX file as `write_int8` takes it: constants folded, batch norms merged, shapes inferred."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with _quiet():
        quant_pre_process(str(source), str(target), skip_symbolic_shape=True)


def write_int8(
    prepared: Path, target: Path, batches: Iterable[Tensor], *, in_float: Collection[str] = (), every_operator: bool = False
) -> None:
    """A prepared network in int8, calibrated by batches of images `(B, 3, H, W)`.

    `in_float` names nodes that stay as they are. Integers are the products; with `every_operator` also what is ELEMENTWISE, as
    accelerators that are slow in float need it.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    with _quiet():
        quantize_static(
            str(prepared), str(target), _Reader(batches), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QInt8, weight_type=QuantType.QInt8, nodes_to_exclude=list(in_float),
            op_types_to_quantize=[*PRODUCTS, *(ELEMENTWISE if every_operator else ())],
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
