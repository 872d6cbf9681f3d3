"""Ranking signals: what each reads of a curve, larger meaning better."""

import pytest

from nas.recipes.signals import RANKING_SIGNALS
from nas.training.curve import Epoch


def epoch(number, *, accuracy, loss, train_loss, steps=10):
    return Epoch(epoch=number, accuracy=accuracy, loss=loss, train_loss=train_loss, lr=0.1, seconds=1.0, steps=steps)


CURVE = (epoch(1, accuracy=0.3, loss=2.0, train_loss=2.5), epoch(2, accuracy=0.4, loss=1.5, train_loss=1.75, steps=20))


@pytest.mark.parametrize(
    ("signal", "value"),
    [("accuracy", 0.4), ("validation_loss", -1.5), ("training_losses", -(25 + 35)), ("last_training_loss", -1.75)],
)
def test_what_a_signal_reads_of_a_curve(signal, value):
    assert RANKING_SIGNALS[signal].of(CURVE) == pytest.approx(value)


def test_a_better_curve_is_better_by_every_signal():
    worse = tuple(e.model_copy(update={"accuracy": 0.1, "loss": 3.0, "train_loss": 3.0}) for e in CURVE)
    assert all(signal.of(CURVE) > signal.of(worse) for signal in RANKING_SIGNALS.values())


def test_without_validation_images_the_training_losses_remain():
    blind = tuple(e.model_copy(update={"accuracy": None, "loss": None}) for e in CURVE)
    assert {name for name, signal in RANKING_SIGNALS.items() if signal.of(blind) is not None} == {
        "training_losses",
        "last_training_loss",
    }
