"""All that a time depends on besides the network and the machine, as a value."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from nas.config.values import Value, broken, known_name, validated
from nas.errors import NasError
from nas.space.architecture import MOST_PIXELS

RUNTIMES = {
    "torch": "nas.devices.runtimes:eager",
    "compile": "nas.devices.runtimes:compiled",
    "onnxruntime": "nas.devices.runtimes:onnx_session",
    "onnxruntime-int8": "nas.devices.runtimes:onnx_int8_session",
    "outside": "nas.devices.runtimes:not_here",
}
"""What runs a network, as module:function, which reading a device file does not import; "outside" is somebody else's tool."""
Runtime = Annotated[str, known_name("runtime", RUNTIMES)]


class Conditions(Value):
    """All that a time depends on besides the network and the machine."""

    runtime: Runtime = "torch"
    device: str = "cpu"
    batch: Annotated[int, Field(ge=1, le=1_000_000)] = 16
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    image_size: Annotated[int, Field(ge=1, le=MOST_PIXELS)] = 224
    channels_last: bool = False
    cuda_graphs: bool = False
    """The kernels of a pass are recorded once and started together: what a card needs without a driver's own cost."""
    threads: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Threads of the CPU; None leaves the runtime's own choice."""
    warm_up: Annotated[int, Field(ge=0, le=100_000)] = 3
    repeats: Annotated[int, Field(ge=2, le=100_000)] = 20

    @model_validator(mode="after")
    def _go_together(self) -> "Conditions":
        if self.cuda_graphs and (self.runtime != "torch" or not self.device.startswith("cuda")):
            rule = f"needs the runtime torch on a CUDA device, but got {self.runtime} on {self.device}; leave it out"
            raise broken("cuda_graphs", rule)
        if self.is_onnx and (self.dtype != "float32" or self.channels_last):
            layout = "channels_last" if self.channels_last else "contiguous"
            rule = f"of {self.runtime} must be float32, contiguous, but got {self.dtype}, {layout}; choose torch or compile"
            raise broken("dtype", rule)
        if self.runtime == "onnxruntime-int8" and self.device != "cpu":
            raise broken("device", f"of onnxruntime-int8 must be cpu, but got {self.device}; choose cpu, or another runtime")
        return self

    @property
    def is_onnx(self) -> bool:
        """Whether ONNX Runtime runs it."""
        return self.runtime.startswith("onnxruntime")

    @property
    def in_words(self) -> str:
        """Such as "batch 1, 224 px, float32, contiguous, torch"."""
        layout = "channels_last" if self.channels_last else "contiguous"
        graphs = ", CUDA graphs" if self.cuda_graphs else ""
        numbers = "" if self.runtime == "onnxruntime-int8" else f"{self.dtype}, "
        return f"batch {self.batch}, {self.image_size} px, {numbers}{layout}, {self.runtime}{graphs}"


def conditions_of(settings: dict[str, object], *, where: str = "nas latency") -> Conditions:
    """The conditions that flags ask for; ConfigError where one breaks a rule."""
    return validated(Conditions, settings, where=where)


def conditions_in(recorded: dict[str, object]) -> Conditions:
    """The conditions that a record holds; those of before runtimes had a name said whether a network was compiled."""
    plain = dict(recorded)
    compiled = plain.pop("compile", False)
    try:
        return validated(Conditions, {"runtime": "compile" if compiled else "torch", **plain}, where="a recorded latency")
    except NasError:
        return Conditions()
