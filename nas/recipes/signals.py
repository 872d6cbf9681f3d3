"""The table of ranking signals: what of a training's curve says how good its architecture is, larger meaning better.

Accuracy counts right answers, so that few images make it coarse; a loss weighs every answer. The training losses so far cost no
validation images at all: their sum is what arXiv:2006.04492 (TSE) ranks architectures by.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol


class Measured(Protocol):
    """What a signal reads of one epoch."""

    @property
    def accuracy(self) -> float | None: ...
    @property
    def loss(self) -> float | None: ...
    @property
    def train_loss(self) -> float: ...
    @property
    def steps(self) -> int: ...


class Signal(NamedTuple):
    """One number that ranks architectures by a curve that has at least one epoch."""

    heading: str
    of: Callable[[Sequence[Measured]], float | None]
    """None where the curve does not say it."""


def _validation_loss(curve: Sequence[Measured]) -> float | None:
    return None if curve[-1].loss is None else -curve[-1].loss


def _training_losses(curve: Sequence[Measured]) -> float:
    return -sum(epoch.train_loss * epoch.steps for epoch in curve)


SIGNAL_CHOICES = ("auto", "losses", "accuracy")
"""What a proxy's networks may be judged by: "losses" beside accuracy, "accuracy" alone, "auto" as a calibration found."""
LOSSES = ("validation_loss", "training_losses", "last_training_loss")
MEAN_OF_LOSSES = "mean_of_losses"  # their mean, each over its standard deviation
RANKING_SIGNALS = {
    "accuracy": Signal("accuracy", lambda curve: curve[-1].accuracy),
    "validation_loss": Signal("validation loss", _validation_loss),
    "training_losses": Signal("training losses", _training_losses),
    "last_training_loss": Signal("last training loss", lambda curve: -curve[-1].train_loss),
}
