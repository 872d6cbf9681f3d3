"""What an architecture costs, as values: what is counted before any training, and the table of everything called a cost.

A cost in closed form is a field of `Cost`, its formula in `cost.py`, a row here and a limit in `constraints.py`.
"""

from collections.abc import Callable
from typing import NamedTuple

from nas.units import count


class Cost(NamedTuple):
    """What an architecture, or a part of one, costs at one resolution and number of classes."""

    params: int = 0
    """Trainable parameters, LayerScale included."""
    frozen_params: int = 0
    """Parameters that are never trained: the matrices of random mixers."""
    macs: int = 0
    """Multiply-accumulates for one image."""
    activation_bytes: int = 0
    """Largest sum of float32 feature maps alive at once, one image, inference: an operator's inputs and output, and the
    residual branch that waits beside them; attention fused, so without its score matrix."""


class CostKind(NamedTuple):
    """A cost by which networks are compared, and how it is shown."""

    label: str
    """As an axis is called, the unit included."""
    heading: str
    """As a column of a table is called."""
    write: Callable[[float], str] = count
    is_counted: bool = True
    """Known before any training, so that a search can weigh it and constraints can limit it."""
    way_out: str | None = None
    """What to do where no trial has it yet."""
    remark: str = ""
    """What exactly is counted, where one network is shown."""


def _short(value: float) -> str:
    return f"{value:.1f}" if value < 1000 else count(value)


COSTS = {
    "macs": CostKind("MACs", "MACs"),
    "params": CostKind("parameters", "params", remark="trainable"),
    "frozen_params": CostKind("frozen parameters", "frozen", remark="never trained, but stored and loaded"),
    "activation_bytes": CostKind(
        "activation memory of an ideal compiler (bytes)",
        "activations",
        remark="bytes at the widest moment of an ideal compiler, one image, float32; eager torch takes 1.4 to 2.3 times that",
    ),
    "latency_ms": CostKind(
        "latency (ms a batch)",
        "ms a batch",
        _short,
        is_counted=False,
        way_out="Measure it: the verb latency times a run's networks into its record, see `nas latency --help`.",
    ),
    "seconds": CostKind("seconds of training", "seconds", _short, is_counted=False),
}
COUNTED = tuple(name for name, kind in COSTS.items() if kind.is_counted)
