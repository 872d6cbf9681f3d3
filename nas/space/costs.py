"""What an architecture costs, as values: what is counted before any training, and the table of everything called a cost.

A cost in closed form is a field of `Cost`, its formula in `cost.py`, a row here and a limit in `constraints.py`. One that a
device file foretells is called after its row and the device, `latency_ms@laptop`, and is the row's kind of cost. One that is
counted at another image size than the space's is called after that, `macs@512`.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from nas.units import count, duration, milliseconds


class Foretold(NamedTuple):
    """A cost that is foretold and not counted: on a named device."""

    name: str
    """Such as `latency_ms@laptop`."""
    value: float
    low: float
    """Of the 90 % interval."""
    high: float


class Cost(NamedTuple):
    """What an architecture, or a part of one, costs at one resolution and number of classes, and on a search's devices."""

    params: int = 0
    """Trainable parameters, LayerScale included."""
    frozen_params: int = 0
    """Parameters that are never trained: the matrices of random mixers."""
    macs: int = 0
    """Multiply-accumulates for one image."""
    activation_bytes: int = 0
    """Largest sum of float32 feature maps alive at once, one image, inference: an operator's inputs and output, and the
    residual branch that waits beside them; attention fused, so without its score matrix."""
    estimates: tuple[Foretold, ...] = ()
    """What is foretold of it on devices; none of a part."""
    resized: tuple[tuple[str, int], ...] = ()
    """What it costs at other image sizes, such as `("macs@512", 4_000_000)`; none of a part."""

    def of(self, name: str) -> float:
        """The cost of that name, counted or foretold."""
        return self._counted(name) if device_in(name) is None else self.estimate(name).value

    def at_most(self, name: str) -> float:
        """What a limit is held against: a foretold cost may come out as the upper end of its interval."""
        return self._counted(name) if device_in(name) is None else self.estimate(name).high

    def _counted(self, name: str) -> int:
        return getattr(self, name) if name in COSTS else dict(self.resized)[name]

    def estimate(self, name: str) -> Foretold:
        """What is foretold under that name."""
        return next(estimate for estimate in self.estimates if estimate.name == name)

    def by_name(self) -> dict[str, float]:
        """All of them, as a record and a table hold them: one that is foretold with the ends of its interval."""
        plain = {name: getattr(self, name) for name in self._fields if name in COUNTED} | dict(self.resized)
        for estimate in self.estimates:
            plain |= {
                estimate.name: estimate.value,
                **dict(zip(ends_of(estimate.name), (estimate.low, estimate.high), strict=True)),
            }
        return plain


class CostKind(NamedTuple):
    """A cost by which networks are compared, and how it is shown."""

    label: str
    """As an axis is called, the unit included."""
    heading: str
    """As a column of a table is called."""
    write: Callable[[float], str] = count
    is_whole: bool = True
    """Whether it comes in whole units."""
    is_counted: bool = True
    """Known before any training, so that a search can weigh it and constraints can limit it."""
    goes_by_size: bool = False
    """Whether it is another at another image size, also for networks without weights that belong to positions."""
    way_out: str | None = None
    """What to do where no trial has it yet."""
    remark: str = ""
    """What exactly is counted, where one network is shown."""
    on_device: "CostKind | None" = None
    """The same as a device file foretells it, its label and heading without the device's name; None where none does."""


COSTS = {
    "macs": CostKind("MACs", "MACs", goes_by_size=True),
    "params": CostKind("parameters", "params", remark="trainable"),
    "frozen_params": CostKind("frozen parameters", "frozen", remark="never trained, but stored and loaded"),
    "activation_bytes": CostKind(
        "activation memory of an ideal compiler (bytes)",
        "activations",
        goes_by_size=True,
        remark="bytes at the widest moment of an ideal compiler, one image, float32; eager torch takes 1.4 to 2.3 times that",
    ),
    "latency_ms": CostKind(
        "latency (ms a batch)",
        "ms a batch",
        milliseconds,
        is_whole=False,
        is_counted=False,
        on_device=CostKind("latency on {device} (ms a batch, foretold)", "ms {device}", milliseconds, is_whole=False),
        way_out="Measure it: the verb latency times a run's networks into its record, see `nas latency --help`.",
    ),
    "latency_int8_ms": CostKind(
        "latency in int8 (ms an image)",
        "ms int8",
        milliseconds,
        is_whole=False,
        is_counted=False,
        way_out="Quantise the front: the verb quantize puts it into a run's record, see `nas quantize --help`.",
    ),
    "seconds": CostKind("seconds of training", "seconds", duration, is_whole=False, is_counted=False),
}
COUNTED = tuple(name for name, kind in COSTS.items() if kind.is_counted)
FORETOLD = tuple(name for name, kind in COSTS.items() if kind.on_device)
"""Costs of which there is one a device."""
BY_SIZE = tuple(name for name, kind in COSTS.items() if kind.goes_by_size)
"""Costs that can be counted at another image size."""
ON = "@"  # between a cost and the device, or the image size, that it is of
OF = ":"  # between a foretold cost and what else is known of it


def on_device(name: str, device: str) -> str:
    """What a device's cost is called, such as `latency_ms@laptop`."""
    return f"{name}{ON}{device}"


def cost_at_size(name: str, image_size: int) -> str:
    """What a cost at another image size is called, such as `macs@512`."""
    return f"{name}{ON}{image_size}"


def size_in(name: str) -> int | None:
    """The image size in the name of a cost that is counted there; None for any other name."""
    cost, _, size = name.partition(ON)
    return int(size) if cost in BY_SIZE and re.fullmatch(r"[1-9]\d{0,4}", size) else None


def device_in(name: str) -> str | None:
    """The device in the name of a foretold cost; None for any other name."""
    cost, at, device = name.partition(ON)
    return device if at and device and OF not in device and cost in FORETOLD else None


def ends_of(name: str) -> tuple[str, str]:
    """Under which names the ends of a foretold cost's interval stand in a record and a table."""
    return f"{name}{OF}low", f"{name}{OF}high"


def measured_as(name: str) -> str:
    """Under which name a table holds what was measured of a foretold cost."""
    return f"{name}{OF}measured"


def limited_by(name: str) -> str:
    """Under which name a table holds what the limit of a cost is held against."""
    return name if device_in(name) is None else ends_of(name)[1]


def is_cost(name: str) -> bool:
    """Whether networks can be compared by it."""
    return name in COSTS or device_in(name) is not None or size_in(name) is not None


def cost_kind(name: str) -> CostKind:
    """The row of a cost, or what a device's cost is made of it."""
    device, size, row = device_in(name), size_in(name), COSTS[name.partition(ON)[0]]
    if size is not None:
        return row._replace(label=f"{row.label} at {size} px", heading=f"{row.heading} {size} px")
    if device is None:
        return row
    kind = row.on_device
    assert kind is not None, "it is among those foretold"
    return kind._replace(label=kind.label.format(device=device), heading=kind.heading.format(device=device))


def resized_in(facts: Mapping[str, Any]) -> tuple[tuple[str, int], ...]:
    """What a record holds of a trial's costs at other image sizes."""
    return tuple((name, facts[name]) for name in sorted(facts) if ON in name and size_in(name) is not None)


def estimates_in(facts: Mapping[str, Any]) -> tuple[Foretold, ...]:
    """What a record holds of a trial's foretold costs."""
    names = [name for name in facts if ON in name and device_in(name) and all(end in facts for end in ends_of(name))]
    return tuple(Foretold(name, facts[name], *(facts[end] for end in ends_of(name))) for name in sorted(names))
