"""What a training says of itself while it runs and when it ends, as values; it imports without torch."""

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from nas.config.values import Value


class Epoch(Value):
    """What one epoch gave."""

    epoch: int
    """Counted from 1."""
    accuracy: float | None
    """Top-1 on the validation images as a fraction; None without validation images."""
    loss: float | None
    """Mean cross-entropy on the validation images, without smoothing."""
    top5: float | None = None
    raw_accuracy: float | None = None
    """Of the weights as they are, where `accuracy` is that of their average; None without an average, or in a proxy."""
    raw_top5: float | None = None
    train_loss: float
    """Mean over the epoch's steps, with augmentation and smoothing; with a teacher's share where the recipe has one. Times
    `steps` it is the sum by which arXiv:2006.04492 ranks architectures."""
    lr: float
    """At the epoch's last step."""
    seconds: float
    """Training and validation together."""
    reading_seconds: float = 0.0
    """Of these, waiting for the next training images: reading and augmenting them, as far as not done beside the computing."""
    steps: int
    """Updates of the weights."""
    pieces: int = 1
    """Parts that a batch was cut into because memory did not suffice for it whole; their gradients are added up."""
    forms: tuple[str, ...] | None = None
    """Which operators a CPU computed in another form than torch's own, as it was faster there; None where that was not
    measured."""
    retried: str | None = None
    """Why the training was begun again at a lower rate; None at the first attempt."""
    right: str | None = None
    """Which validation images were classified right, in the manifest's order, as `packed_bits` writes it; after the last epoch
    of a proxy training. All networks of a search are judged by the same images, so that they can be compared in pairs."""
    unsaved: str | None = None
    """Why no checkpoint could be written after it, or read before it; None where nothing went wrong."""


def packed_bits(right: np.ndarray) -> str:
    """A bool array `(N,)` as text: base64 of its bits."""
    return base64.b64encode(np.packbits(right).tobytes()).decode()


def unpacked_bits(text: str, number: int) -> np.ndarray:
    """The bool array `(number,)` that was packed; ValueError for another text."""
    bits = np.unpackbits(np.frombuffer(base64.b64decode(text, validate=True), np.uint8))
    if not 0 <= len(bits) - number < 8:
        raise ValueError(f"must hold {number} bits, but holds {len(bits)}")
    return bits[:number].astype(bool)


class StepProgress(NamedTuple):
    """Where a training is within an epoch."""

    epoch: int
    step: int
    steps: int
    loss: float
    """Mean over the steps since the last one of these."""
    lr: float
    images: int
    """Trained on since the epoch began, in all processes."""


class Outcome(Value):
    """What one proxy training came to; every epoch that was reached stays in the curve."""

    curve: tuple[Epoch, ...] = ()
    accuracy: float | None
    """Of the last epoch of the recipe; None when the training did not get there."""
    seconds: float
    """From building the network to the last validation, a first attempt that diverged included."""
    cause: str | None = None
    """Why the architecture could not be trained; None when nothing went wrong, early stopping included."""


OnEpoch = Callable[[Epoch], bool | None]
"""Hears of each epoch, and ends the training there by returning False."""
OnStep = Callable[[StepProgress], None]
OnStart = Callable[[tuple[Epoch, ...]], bool | None]
"""Hears which epochs were trained before an interruption, and ends the training there by returning False."""


class Placed(Value):
    """A worker has taken up a trial."""

    host: str
    """The name of its machine."""


class Begin(Value):
    """A trial's training begins, or goes on."""

    curve: tuple[Epoch, ...]
    """The epochs that its checkpoint holds."""


Message = Placed | Begin | Epoch | Outcome
MESSAGES: dict[str, type[Message]] = {"placed": Placed, "begin": Begin, "epoch": Epoch, "outcome": Outcome}
"""What a trial's worker says to the driver. Ray Tune carries one as a JSON text in a flat mapping."""


def packed(message: Message) -> dict[str, str]:
    """A message as Ray Tune carries it. An outcome goes without its curve, whose epochs were sent one by one."""
    kind = next(kind for kind, value in MESSAGES.items() if isinstance(message, value))
    content = message.model_dump(mode="json", exclude={"curve"} if isinstance(message, Outcome) else None)
    return {kind: json.dumps(content)}


def unpacked(report: Mapping[str, Any]) -> Message | None:
    """The message in a report of a worker's; None where it holds none."""
    return next((value.model_validate_json(report[kind]) for kind, value in MESSAGES.items() if kind in report), None)
